"""How the next token is chosen: transformers' own warpers, and draws that can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import LogitsProcessor

from nbtools.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen. Greedy unless one of the sampling values is given or `do_sample` says otherwise.

    temperature  divides the logits before the softmax; top_k keeps the k largest; top_p keeps the smallest set whose
    probabilities reach p (Holtzman et al., 2020); min_p keeps tokens with at least p times the largest probability
    repetition_penalty  divides (or, below zero, multiplies) logits of tokens that the text holds (Keskar et al., 2019)
    num_beams    1, or the width of a beam search
    """

    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    num_beams: int = 1

    def __post_init__(self) -> None:
        _within("temperature", self.temperature, 0, None)
        _within("top_k", self.top_k, 0, None)
        _within("top_p", self.top_p, 0, 1)
        _within("min_p", self.min_p, 0, 1)
        _within("repetition_penalty", self.repetition_penalty, 0, None)
        if self.num_beams < 1:
            raise InputError(f"num_beams is {self.num_beams}.", "Give 1 for no beam search, or more.")
        if self.num_beams > 1 and self.samples:
            raise InputError("Beam search and sampling were asked for together.", "Leave out num_beams, or the sampling values.")

    @property
    def samples(self) -> bool:
        if self.do_sample is not None:
            return self.do_sample
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.min_p))

    def warpers(self) -> LogitsProcessorList:
        """transformers' own warpers for these values, in the order in which its `generate` applies them."""
        from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        chosen = LogitsProcessorList()
        if self.temperature is not None and self.temperature != 1:
            chosen.append(TemperatureLogitsWarper(float(self.temperature)))
        if self.top_k:
            chosen.append(TopKLogitsWarper(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            chosen.append(TopPLogitsWarper(float(self.top_p)))
        if self.min_p is not None:
            chosen.append(MinPLogitsWarper(float(self.min_p)))
        return chosen

    def describe(self) -> str:
        if not self.samples:
            return "greedy" if self.num_beams == 1 else f"beam search, {self.num_beams} beams"
        values = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        return "sampling, " + (", ".join(f"{name}={value}" for name, value in values.items() if value is not None) or "no warper")


def _within(name: str, value: float | None, low: float, high: float | None) -> None:
    if value is None:
        return
    wrong_type = isinstance(value, bool) or not isinstance(value, int if name == "top_k" else (int, float))
    zero = value == 0 and name not in {"top_k", "min_p"}  # there zero means "off"; elsewhere it has no meaning
    if wrong_type or zero or value < low or (high is not None and value > high):
        bounds = f"above {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{name} is {value!r}.", f"Give a number {bounds}, or None. For greedy decoding leave out all sampling values.")


class SeededDraw(LogitsProcessor):
    """The last processor of a sampled generation: draws each row's token from its own random stream and leaves only that one.

    The draw is by inverse transform: the first token whose cumulative probability, in id order, exceeds a uniform number.
    A row's numbers depend on its seed alone, not on the other rows, so a prompt's text is the same alone and in a batch in fp32; in bf16
    the shape of a batch changes how sums are rounded, and a token whose probability lies next to its draw may differ.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        import torch

        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        import torch

        chosen = torch.tensor([[self.draw(row, one)] for row, one in enumerate(scores)])
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, chosen.to(scores.device), 0.0)  # type: ignore[return-value]

    def draw(self, row: int, scores: torch.Tensor) -> int:
        """The next draw of `row` from softmax(scores): a place in scores [candidates]. Scores of minus infinity may be left out."""
        import torch

        return self.land(scores, float(torch.rand((), generator=self.streams[row], dtype=torch.float64)))

    @staticmethod
    def land(scores: torch.Tensor, uniform: float) -> int:
        """The place in scores [candidates] on which `uniform` falls."""
        import torch

        wide = scores.double().cpu()
        # The sum stays in it, for it cancels: a uniform share of the last entry is looked for.
        cumulative = (wide - wide.max()).exp_().cumsum(-1)
        return min(int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)), len(scores) - 1)


class PromptRepetition(LogitsProcessor):
    """The library's repetition penalty over a row's own tokens: left padding, which is end-of-text here, is no repetition."""

    def __init__(self, penalty: float, padding: Sequence[int]) -> None:
        from transformers import RepetitionPenaltyLogitsProcessor

        self.penalize, self.padding = RepetitionPenaltyLogitsProcessor(penalty), padding

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        import torch

        rows = zip(input_ids, scores, self.padding, strict=True)
        return torch.cat([self.penalize(ids[None, begin:], row[None]) for ids, row, begin in rows])  # type: ignore[return-value, arg-type]


class Chooser:
    """Chooses each row's next token: the processors of transformers' `generate` for one Decoding, in its order, and SeededDraw.

    seeds  one a row. A row is known by its place there, whichever rows are still at work.
    """

    def __init__(self, choice: Decoding, seeds: Sequence[int]) -> None:
        from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper

        penalty = choice.repetition_penalty
        self.penalize = None if penalty is None else RepetitionPenaltyLogitsProcessor(float(penalty))
        self.draws = SeededDraw(seeds) if choice.samples else None
        warpers = choice.warpers() if choice.samples else []
        top_k = next((place + 1 for place, one in enumerate(warpers) if isinstance(one, TopKLogitsWarper)), 0)
        self.first, self.rest = warpers[:top_k], warpers[top_k:]

    def __call__(self, logits: torch.Tensor, rows: Sequence[int], histories: Sequence[list[int]]) -> list[int]:
        """logits float32 [rows, vocabulary] of the rows named, and each one's tokens so far; the tokens chosen."""
        import torch

        if self.penalize:
            pairs = zip(histories, logits, strict=True)
            logits = torch.cat([self.penalize(torch.tensor([ids]), one[None]) for ids, one in pairs])  # type: ignore[arg-type]
        if self.draws is None:
            return logits.argmax(-1).tolist()
        none = torch.empty(len(logits), 0, dtype=torch.long)
        for warper in self.first:
            logits = warper(none, logits)  # type: ignore[arg-type, assignment]
        return [self._sample(row, scores) for row, scores in zip(rows, logits, strict=True)]

    def _sample(self, row: int, scores: torch.Tensor) -> int:
        """Once top-k has left few candidates, only they are sorted and summed; their softmax is the same."""
        import torch

        assert self.draws is not None
        ids = torch.nonzero(scores > -torch.inf)[:, 0]
        scores = scores[ids]
        for warper in self.rest:
            scores = warper(ids[None], scores[None])[0]  # type: ignore[arg-type]
        return int(ids[self.draws.draw(row, scores)])
