"""Beam search, by transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, RepetitionPenaltyLogitsProcessor, StoppingCriteria

from nbtools.generation.engine import Continuation, inference, left_padded
from nbtools.models import LanguageModel


class PromptRepetition(LogitsProcessor):
    """The library's repetition penalty over a row's own tokens: left padding, which is end-of-text here, is not a repetition.

    padding  the number of padding tokens of each row
    """

    def __init__(self, penalty: float, padding: Sequence[int]) -> None:
        self.penalize, self.padding = RepetitionPenaltyLogitsProcessor(penalty), padding

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        rows = zip(input_ids, scores, self.padding, strict=True)
        return torch.cat([self.penalize(ids[None, count:], row[None]) for ids, row, count in rows])  # type: ignore[return-value, arg-type]


class _StopWhen(StoppingCriteria):
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop = should_stop

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **keywords: Any) -> torch.BoolTensor:
        return torch.full((len(input_ids),), self.should_stop(), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def beam_search(
    lm: LanguageModel, texts: Continuation, dtype: torch.dtype, should_stop: Callable[[], bool] | None = None
) -> list[list[int]]:
    """Return the ids with which each row is continued, up to its limit. What follows an end is end-of-text.

    dtype  number format of the arithmetic; where it is not the model's own, it is autocast
    """
    params = texts.params
    input_ids, mask = left_padded(lm, texts.rows)
    processors = []
    if params.repetition_penalty is not None:
        padding = (mask == 0).sum(1).repeat_interleave(params.num_beams).tolist()
        processors.append(PromptRepetition(params.repetition_penalty, padding))
    settings = GenerationConfig(
        max_new_tokens=max(texts.limits),
        do_sample=False,
        num_beams=params.num_beams,
        eos_token_id=sorted(texts.ends),
        pad_token_id=lm.document_id,
        use_cache=True,
    )
    with inference(lm, dtype):
        own = lm.model.generation_config
        lm.model.generation_config = GenerationConfig()  # transformers would fill what is left open from the checkpoint's settings
        try:
            output = lm.model.generate(  # type: ignore[operator]
                input_ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=processors,
                stopping_criteria=[_StopWhen(should_stop)] if should_stop else None,
            )
        finally:
            lm.model.generation_config = own
    return [row[:limit] for row, limit in zip(output[:, input_ids.shape[1] :].tolist(), texts.limits, strict=True)]
