"""Engines that read rows of tokens (our decoder's and transformers'), and the one decoding loop that every text comes from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from nbtools.accel import Decoder, decoder_for, unsupported_reason
from nbtools.generation.sampling import Distribution, Sampler, SamplingParams, uniform_stream
from nbtools.models import LanguageModel, Turns, evaluating, exclusive, exclusively
from nbtools.system import choose_dtype
from nbtools.values import Text, checked

DTYPES = Text(("fp32", "bf16", "auto"))


class Engine(ABC):
    """Reads rows of tokens with one model and keeps their keys and values. Between two calls other threads may use the model.

    Both methods raise ModelError when the model has been trained since the engine was made.
    """

    @abstractmethod
    def prefill(self, rows: list[list[int]], capacity: int) -> torch.Tensor:
        """Read every row; equal rows are read once and cloned. Returns the logits after each, float32 [rows, vocabulary].

        capacity  the most tokens that a row will have
        """

    @abstractmethod
    def step(self, rows: list[int], tokens: list[int]) -> torch.Tensor:
        """Append one token to each of the rows numbered `rows`; the others have ended. Returns logits as `prefill` does."""


class DecoderEngine(Engine):
    """Engine that uses the decoder of `nbtools.accel`, without padding."""

    def __init__(self, lm: LanguageModel, decoder: Decoder) -> None:
        self.turns, self.decoder = Turns(lm), decoder

    def prefill(self, rows: list[list[int]], capacity: int) -> torch.Tensor:
        self.cache = self.decoder.new_cache(len(rows), capacity)
        sources = [rows.index(row) for row in rows]  # of each row, the first that is equal
        read = sorted(set(sources))
        with self.turns.turn():
            logits = self.decoder.read([rows[row] for row in read], read, self.cache)
        for row, source in enumerate(sources):
            if row != source:
                self.cache.copy(source, row)
        return logits[[read.index(source) for source in sources]]

    def step(self, rows: list[int], tokens: list[int]) -> torch.Tensor:
        with self.turns.turn():
            return self.decoder.read([[token] for token in tokens], rows, self.cache)


class TransformersEngine(Engine):
    """Engine that uses the model's forward method, for any causal model and device. Shorter rows are padded on the left.

    In another number format than the model's the arithmetic is autocast, so the weights are not copied. A model that returns no
    key-value cache reads all tokens again in each step.
    """

    def __init__(self, lm: LanguageModel, dtype: torch.dtype) -> None:
        self.lm, self.dtype, self.turns = lm, dtype, Turns(lm)
        plain = getattr(lm.model, "get_base_model", lambda: lm.model)()  # peft's wrapper takes any keyword
        self.accepted = inspect.signature(type(plain).forward).parameters

    def prefill(self, rows: list[list[int]], capacity: int) -> torch.Tensor:
        unique = list(dict.fromkeys(map(tuple, rows)))
        self.ids, self.mask = left_padded(self.lm, unique)
        self.cache: Any = None
        logits = self._forward()
        sources = [unique.index(tuple(row)) for row in rows]
        self._select(sources)
        self.rows = list(range(len(rows)))
        return logits[sources]

    def step(self, rows: list[int], tokens: list[int]) -> torch.Tensor:
        self._select([self.rows.index(row) for row in rows])
        self.rows = list(rows)
        new = torch.tensor(tokens, device=self.ids.device)[:, None]
        self.ids, self.mask = torch.cat([self.ids, new], 1), torch.cat([self.mask, torch.ones_like(new)], 1)
        return self._forward()

    def _select(self, indices: list[int]) -> None:
        """Keep these of the cache's rows, in this order; one that is named twice is cloned."""
        if indices == list(range(len(self.ids))):
            return
        index = torch.tensor(indices, device=self.ids.device)
        self.ids, self.mask = self.ids[index], self.mask[index]
        if self.cache is not None:
            self.cache.reorder_cache(index)

    def _forward(self) -> torch.Tensor:
        new = self.ids.shape[1] if self.cache is None else 1
        inputs = {
            "input_ids": self.ids[:, -new:],
            "attention_mask": self.mask,
            "position_ids": (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -new:],
            "past_key_values": self.cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        with self.turns.turn(), inference(self.lm, self.dtype):
            output = self.lm.model(**{name: value for name, value in inputs.items() if name in self.accepted})
        self.cache = getattr(output, "past_key_values", None)
        return output.logits[:, -1].float()


def left_padded(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids that all end at the right edge, where generation continues, and their attention mask: int64 [rows, tokens]."""
    longest = max(map(len, rows))
    ids = torch.tensor([[lm.document_id] * (longest - len(row)) + [*row] for row in rows], device=lm.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=lm.device)
    return ids, mask


@contextmanager
def inference(lm: LanguageModel, dtype: torch.dtype) -> Iterator[None]:
    """Within this context, `lm` is locked, in evaluation mode and without gradients, autocast where `dtype` is not its own."""
    cast = nullcontext() if dtype == lm.model.dtype else torch.autocast(lm.device.type, dtype)
    with evaluating(lm.model), torch.inference_mode(), cast:
        yield


def make_engine(lm: LanguageModel, dtype: torch.dtype | None = None) -> Engine:
    """The fastest engine for `lm` in the number format `dtype` (None: the model's own)."""
    dtype = dtype or lm.model.dtype
    with exclusive(lm.model):
        decoder = decoder_for(lm.model, dtype)
        return TransformersEngine(lm, dtype) if decoder is None else DecoderEngine(lm, decoder)


def number_format(lm: LanguageModel, name: str | None) -> torch.dtype:
    """Return the number format for the argument `dtype` of `generate`. Raises InputError for an unknown name."""
    if name is None:
        return lm.model.dtype
    if DTYPES("dtype", name) == "auto":
        return choose_dtype().torch_dtype
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


@checked()
@exclusively
def decoder_name(lm: LanguageModel, dtype: str | None = None, *, rows: int = 1, num_beams: int = 1) -> str:
    """Which code decodes `rows` texts of this model at once, and in which number format, in words for a report."""
    number = number_format(lm, dtype)
    name = str(number).removeprefix("torch.")
    if num_beams > 1:
        return f"transformers, {name} (beam search)"
    decoder = decoder_for(lm.model, number)
    if decoder is None:
        return f"transformers, {name} ({unsupported_reason(lm.model)})"
    return f"nbtools {'compiled kernel' if decoder.uses_kernel(rows) else 'in PyTorch'}, {name}"


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
