"""How the next token is chosen: by transformers' own processors, and by draws that can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import LogitsProcessor

from nbtools.generation.params import SamplingParams

if TYPE_CHECKING:
    import torch


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
    """Chooses each row's next token: the processors of transformers' `generate` for one SamplingParams, in its order, and SeededDraw.

    seeds  one a row. A row is known by its place there, whichever rows are still at work.
    """

    def __init__(self, params: SamplingParams, seeds: Sequence[int]) -> None:
        from transformers import TopKLogitsWarper

        self.params = params
        self.draws = SeededDraw(seeds) if params.samples else None
        warpers = params.warpers()
        top_k = next((place + 1 for place, one in enumerate(warpers) if isinstance(one, TopKLogitsWarper)), 0)
        self.first, self.rest = warpers[:top_k], warpers[top_k:]

    def __call__(self, logits: torch.Tensor, rows: Sequence[int], histories: Sequence[list[int]]) -> list[int]:
        """logits float32 [rows, vocabulary] of the rows named, and each one's tokens so far; the tokens chosen."""
        import torch

        if self.params.repetition_penalty is not None:
            pairs = zip(histories, logits, strict=True)
            logits = torch.cat([self.params.penalized(torch.tensor([ids]), one[None]) for ids, one in pairs])
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
