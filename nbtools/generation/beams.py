"""Beam search, by transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from nbtools.generation.decoding import Continuation
from nbtools.models import evaluating

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel


class PromptRepetition(LogitsProcessor):
    """The library's repetition penalty over a row's own tokens: left padding, which is end-of-text here, is not a repetition.

    padding  the number of padding tokens of each row
    """

    def __init__(self, penalty: float, padding: Sequence[int]) -> None:
        from transformers import RepetitionPenaltyLogitsProcessor

        self.penalize, self.padding = RepetitionPenaltyLogitsProcessor(penalty), padding

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        import torch

        rows = zip(input_ids, scores, self.padding, strict=True)
        return torch.cat([self.penalize(ids[None, count:], row[None]) for ids, row, count in rows])  # type: ignore[return-value, arg-type]


class _StopWhen(StoppingCriteria):
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop = should_stop

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **keywords: Any) -> torch.BoolTensor:
        import torch

        return torch.full((len(input_ids),), self.should_stop(), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def beam_search(
    lm: LanguageModel, texts: Continuation, dtype: torch.dtype, should_stop: Callable[[], bool] | None = None
) -> list[list[int]]:
    """Return the ids with which each row is continued, up to its end or limit.

    dtype  number format of the arithmetic; where it is not the model's own, it is autocast
    """
    import torch

    longest, params = max(map(len, texts.rows)), texts.params
    padding = [longest - len(row) for row in texts.rows]
    pairs = list(zip(padding, texts.rows, strict=True))
    # Left padding: generation continues at the right edge, where every row must end.
    input_ids = torch.tensor([[lm.document_id] * count + row for count, row in pairs], device=lm.device)
    attention_mask = torch.tensor([[0] * count + [1] * len(row) for count, row in pairs], device=lm.device)
    processors = []
    if params.repetition_penalty is not None:
        processors.append(PromptRepetition(params.repetition_penalty, [count for count in padding for _ in range(params.num_beams)]))
    settings = GenerationConfig(
        max_new_tokens=max(texts.limits),
        do_sample=False,
        num_beams=params.num_beams,
        eos_token_id=sorted(texts.ends),
        pad_token_id=lm.document_id,
        use_cache=True,
    )
    cast = nullcontext() if dtype == lm.model.dtype else torch.autocast(lm.device.type, dtype)
    with evaluating(lm.model), torch.inference_mode(), cast:
        own = lm.model.generation_config
        lm.model.generation_config = GenerationConfig()  # transformers would fill what is left open from the checkpoint's settings
        try:
            output = lm.model.generate(  # type: ignore[operator]
                input_ids,
                attention_mask=attention_mask,
                generation_config=settings,
                logits_processor=processors,
                stopping_criteria=[_StopWhen(should_stop)] if should_stop else None,
            )
        finally:
            lm.model.generation_config = own
    added = [row[longest:][:limit] for row, limit in zip(output.tolist(), texts.limits, strict=True)]
    return [list(takewhile(lambda token: token not in texts.ends, ids)) for ids in added]  # what follows an end is padding
