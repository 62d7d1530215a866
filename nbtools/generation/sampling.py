"""From logits to tokens: validated sampling parameters, the warpers of transformers in the order of its `generate`, repeatable draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from nbtools.errors import InputError
from nbtools.values import Checked

# Below this, logits divided by the temperature would overflow. vLLM decodes greedily below the same value (vllm/sampling_params.py,
# _SAMPLING_EPS).
GREEDY_BELOW = 1e-5


@dataclass(frozen=True)
class SamplingParams(Checked):
    """How a text is continued. Greedy unless one of the sampling values is given or `do_sample` says otherwise.

    Every value is checked, and NumPy's numbers become Python's. Raises InputError for an impossible value, and for beams together with
    sampling.
    """

    do_sample: bool | None = None
    """Whether tokens are sampled; None: they are if temperature (above 0), top_k, top_p or min_p is given."""
    temperature: float | None = None
    """Divides the logits before the softmax; 0 means greedy decoding, regardless of the other values."""
    top_k: int | None = None
    """Keeps the k likeliest tokens; 0 keeps all."""
    top_p: float | None = None
    """Keeps the smallest set of tokens whose probabilities reach p (Holtzman et al., 2020)."""
    min_p: float | None = None
    """Keeps tokens with at least p times the largest probability; 0 keeps all."""
    repetition_penalty: float | None = None
    """Divides (below zero: multiplies) the logits of tokens that the text already contains (Keskar et al., 2019); 1 changes nothing."""
    num_beams: int = 1
    """Width of a beam search; 1 for none."""
    max_new_tokens: int = 50
    """The most tokens that are added to the prompt."""
    max_length: int | None = None
    """The most tokens of prompt and continuation together; overrides max_new_tokens."""
    seed: int = 0
    """The seed of each prompt's own random stream; sample j uses seed + j."""
    num_samples: int = 1
    """Texts per prompt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_beams > 1 and self.samples:
            raise InputError("Beam search and sampling were asked for together.", "Leave out num_beams, or the sampling values.")

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        if self.temperature is not None and self.temperature < GREEDY_BELOW:
            return False
        if self.do_sample is not None:
            return self.do_sample
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.min_p))

    @property
    def explicitly_greedy(self) -> bool:
        """Whether greedy decoding was requested explicitly."""
        return not self.samples and (self.temperature is not None or self.do_sample is not None)

    def describe(self) -> str:
        """Return how tokens are chosen, in a few words, for a table."""
        values = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        if not self.samples:
            words = "greedy" if self.num_beams == 1 else f"beam search, {self.num_beams} beams"
        else:
            words = "sampling, " + (", ".join(f"{name}={value}" for name, value in values.items() if value is not None) or "no warper")
        return words if self.repetition_penalty is None else f"{words}, repetition_penalty={self.repetition_penalty}"


def uniform_stream(seed: int) -> Iterator[float]:
    """Yield the random numbers of a seed, uniform on [0, 1); the d-th number is used at depth d of a text."""
    stream = torch.Generator().manual_seed(seed)
    while True:
        yield float(torch.rand((), generator=stream, dtype=torch.float64))


def sample_inverse_cdf(scores: torch.Tensor, uniform: float) -> int:
    """The index drawn from softmax(scores): the first one whose cumulative probability, in the order of indices, exceeds `uniform`.

    scores   [candidates], minus infinity for no probability
    uniform  a number in [0, 1)
    """
    wide = scores.cpu().double()
    # Not divided by the sum: `uniform` is multiplied by it instead.
    cumulative = (wide - wide.max()).exp_().cumsum(-1)
    return min(int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)), len(scores) - 1)


@dataclass(frozen=True)
class Distribution:
    """The distribution of one row's next token after penalty and warpers."""

    scores: torch.Tensor
    """float32 [candidates]: the logits of the tokens that remain; their softmax is the distribution."""
    ids: torch.Tensor
    """int64 [candidates]: the tokens that remain, in ascending order."""
    vocabulary: int

    def token(self, uniform: float | None) -> int:
        """The token drawn with `uniform`; None takes the likeliest one."""
        index = int(self.scores.argmax()) if uniform is None else sample_inverse_cdf(self.scores, uniform)
        return int(self.ids[index])

    @property
    def probabilities(self) -> torch.Tensor:
        """float64 [vocabulary] on the CPU."""
        kept = self.scores.cpu().double().softmax(-1)
        return torch.zeros(self.vocabulary, dtype=torch.float64).index_copy_(0, self.ids.cpu(), kept)


class Sampler:
    """Applies the penalty and the warpers of some `SamplingParams` to logits: transformers' own processors, in its order.

    Once top-k has left few candidates, the later warpers sort only those; the distribution is the same.
    """

    def __init__(self, params: SamplingParams) -> None:
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
        if params.min_p:
            self._after.append(MinPLogitsWarper(params.min_p))

    def __call__(self, logits: torch.Tensor, histories: Sequence[Sequence[int]]) -> list[Distribution]:
        """The distribution of each row's next token; where tokens are not drawn, of the penalty alone.

        logits     float32 [rows, vocabulary]
        histories  each row's tokens so far, prompt included
        """
        if self._penalize is not None:
            rows = zip(histories, logits, strict=True)
            logits = torch.cat([self._penalize(torch.tensor([ids], device=row.device), row[None]) for ids, row in rows])
        if not self.samples:
            everything = torch.arange(logits.shape[1])
            return [Distribution(row, everything, len(row)) for row in logits]
        unused = torch.empty(len(logits), 0, dtype=torch.long)
        for warper in self._before:
            logits = warper(unused, logits)
        return [self._candidates(row) for row in logits]

    def _candidates(self, scores: torch.Tensor) -> Distribution:
        vocabulary, ids = len(scores), torch.nonzero(scores > -torch.inf)[:, 0]
        scores = scores[ids]
        for warper in self._after:
            scores = warper(ids[None], scores[None])[0]
        return Distribution(scores, ids, vocabulary)
