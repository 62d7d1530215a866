"""The decoding loop: the one generator that every text of this package comes from, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from nbtools.generation.engine import Engine
from nbtools.generation.params import SamplingParams
from nbtools.generation.sampling import Distribution, Sampler, uniform_stream


@dataclass(frozen=True)
class Continuation:
    """Rows of tokens to continue, and how."""

    rows: list[list[int]]
    """The token ids of each row."""
    limits: list[int]
    """The most tokens to add to each row, at least 1."""
    seeds: list[int]
    """The seed of each row. A row's draws depend on its own seed alone."""
    params: SamplingParams
    """How tokens are chosen; max_new_tokens, num_samples and num_beams are ignored."""
    ends: set[int]
    """Tokens that end a row."""
    depth: int = 0
    """Number of tokens that each row has already generated; as many uniform numbers of its seed are skipped."""


@dataclass(frozen=True)
class Step:
    """One token added to one row."""

    row: int
    token: int
    uniform: float | None
    """The uniform number with which it was drawn; None for greedy decoding."""
    distribution: Distribution
    """The distribution from which it was chosen."""


def decode(engine: Engine, texts: Continuation) -> Iterator[list[Step]]:
    """Yield the steps of all unfinished rows, one list per forward pass. A row is finished at an end token or at its limit."""
    sampler = Sampler(texts.params)
    uniforms = [islice(uniform_stream(seed), texts.depth, None) for seed in texts.seeds]
    ids = [list(row) for row in texts.rows]
    capacities = [len(row) + limit for row, limit in zip(ids, texts.limits, strict=True)]
    active = list(range(len(ids)))
    logits = engine.prefill(texts.rows, max(capacities))
    while True:
        steps = []
        for row, distribution in zip(active, sampler(logits, [ids[row] for row in active]), strict=True):
            uniform = next(uniforms[row]) if sampler.samples else None
            steps.append(Step(row, distribution.token(uniform), uniform, distribution))
            ids[row].append(steps[-1].token)
        yield steps
        active = [step.row for step in steps if step.token not in texts.ends and len(ids[step.row]) < capacities[step.row]]
        if not active:
            return
        logits = engine.step(active, [ids[row][-1] for row in active])
