"""From logits to tokens: the repetition penalty, the warpers of transformers in the order of its `generate`, and draws that replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nbtools.generation.params import SamplingParams
from nbtools.values import CHECKS

if TYPE_CHECKING:
    import torch


def uniform_stream(seed: int) -> Iterator[float]:
    """Yield the random numbers of a seed, uniform on [0, 1); the d-th number is used at depth d of a text."""
    import torch

    stream = torch.Generator().manual_seed(seed)
    while True:
        yield float(torch.rand((), generator=stream, dtype=torch.float64))


def uniforms(seed: int, count: int) -> list[float]:
    """The first `count` numbers of a seed, those that `nbtools.generate` draws with. Raises InputError for an invalid seed."""
    return list(islice(uniform_stream(CHECKS["seed"]("seed", seed)), count))


def sample_inverse_cdf(scores: torch.Tensor, uniform: float) -> int:
    """The index drawn from softmax(scores): the first one whose cumulative probability, in the order of indices, exceeds `uniform`.

    scores   [candidates], minus infinity for no probability
    uniform  a number in [0, 1)
    """
    import torch

    wide = scores.cpu().double()
    # Not divided by the sum: `uniform` is multiplied by it instead.
    cumulative = (wide - wide.max()).exp_().cumsum(-1)
    return min(int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)), len(scores) - 1)


@dataclass(frozen=True)
class Distribution:
    """The distribution of one row's next token after penalty and warpers."""

    scores: torch.Tensor
    """float32 [candidates]: the logits of the tokens that remain; their softmax is the distribution."""
    ids: torch.Tensor | None
    """int64 [candidates]: the tokens that remain, in ascending order; None when all of the vocabulary remains."""
    vocabulary: int

    def token(self, uniform: float | None) -> int:
        """The token drawn with `uniform`; None takes the likeliest one."""
        index = int(self.scores.argmax()) if uniform is None else sample_inverse_cdf(self.scores, uniform)
        return index if self.ids is None else int(self.ids[index])

    @property
    def probabilities(self) -> torch.Tensor:
        """float64 [vocabulary] on the CPU."""
        import torch

        kept = self.scores.cpu().double().softmax(-1)
        if self.ids is None:
            return kept
        return torch.zeros(self.vocabulary, dtype=torch.float64).index_copy_(0, self.ids.cpu(), kept)


class Sampler:
    """Applies the penalty and the warpers of some `SamplingParams` to logits: transformers' own processors, in its order.

    Once top-k has left few candidates, the later warpers sort only those; the distribution is the same.
    """

    def __init__(self, params: SamplingParams) -> None:
        from transformers import (
            MinPLogitsWarper,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        self.samples = params.samples
        penalty = params.repetition_penalty
        self._penalize: Any = None if penalty is None else RepetitionPenaltyLogitsProcessor(penalty)
        self._before: list[Any] = []  # applied to all rows at once
        self._after: list[Any] = []  # applied to the candidates of each row
        if not self.samples:
            return
        if params.temperature is not None and params.temperature != 1:
            self._before.append(TemperatureLogitsWarper(params.temperature))
        if params.top_k:
            self._before.append(TopKLogitsWarper(params.top_k))
        if params.top_p is not None and params.top_p < 1:
            self._after.append(TopPLogitsWarper(params.top_p))
        if params.min_p is not None:
            self._after.append(MinPLogitsWarper(params.min_p))

    def __call__(self, logits: torch.Tensor, histories: Sequence[Sequence[int]]) -> list[Distribution]:
        """The distribution of each row's next token; where tokens are not drawn, of the penalty alone.

        logits     float32 [rows, vocabulary]
        histories  each row's tokens so far, prompt included
        """
        import torch

        if self._penalize is not None:
            rows = zip(histories, logits, strict=True)
            logits = torch.cat([self._penalize(torch.tensor([ids], device=row.device), row[None]) for ids, row in rows])
        if not self.samples:
            return [Distribution(row, None, len(row)) for row in logits]
        unused = torch.empty(len(logits), 0, dtype=torch.long)
        for warper in self._before:
            logits = warper(unused, logits)
        return [self._candidates(row) for row in logits]

    def _candidates(self, scores: torch.Tensor) -> Distribution:
        import torch

        vocabulary, ids = len(scores), torch.nonzero(scores > -torch.inf)[:, 0]
        scores = scores[ids]
        for warper in self._after:
            scores = warper(ids[None], scores[None])[0]
        return Distribution(scores, ids, vocabulary)
