"""Prompt an instruction-tuned model with its own chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.models import evaluating
from nbtools.system import quiet_libraries
from nbtools.texts import check_text
from nbtools.values import CHECKS

if TYPE_CHECKING:
    from nbtools.models import LanguageModel


def instruct(lm: LanguageModel, instruction: str, max_new_tokens: int = 80) -> str:
    """The model's greedy answer, without the instruction.

    Raises InputError for a model without a chat template, and for an instruction that does not fit into its context.
    """
    import torch

    if not getattr(lm.tokenizer, "chat_template", None):
        raise InputError(f"{lm.name} was not trained to follow instructions: it has no chat template.", "Use smollm2, for example.")
    max_new_tokens = CHECKS["max_new_tokens"]("max_new_tokens", max_new_tokens)
    instruction = check_text(instruction, "instruction")
    quiet_libraries()
    asked: Any = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": instruction}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    start = asked["input_ids"].shape[1]
    if start + max_new_tokens > lm.context:
        raise InputError(f"The instruction has {start:,} tokens, too many for {lm.context:,}.", "Shorten it.")
    model: Any = lm.model
    with evaluating(model), torch.inference_mode():
        ids = model.generate(**asked.to(lm.device), max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=lm.document_id)
    return str(lm.tokenizer.decode(ids[0, start:], skip_special_tokens=True)).strip()
