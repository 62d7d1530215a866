"""From prompts to token ids, and from new ids to the text that they add."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbtools.errors import InputError
from nbtools.system import say
from nbtools.texts import check_texts
from nbtools.tokens import decode

if TYPE_CHECKING:
    from nbtools.models import LanguageModel


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list. Raises InputError for anything that is not a list of strings."""
    if not isinstance(prompts, (list, tuple)) or not prompts:
        raise InputError(f"The prompt is {prompts!r}, which is not text.", "Give a string, or a list of strings.")
    return check_texts(prompts, "prompts")


def encode(lm: LanguageModel, texts: list[str], max_new_tokens: int, max_length: int | None) -> list[list[int]]:
    """Each text's ids, cut at the beginning, with a warning, where a text leaves no room for the new tokens."""
    if max_new_tokens < 1 or (max_length is not None and max_length < 2):
        raise InputError("No room is left for a new token.", "Give max_new_tokens of at least 1, or max_length of at least 2.")
    room = lm.context - max_new_tokens if max_length is None else min(lm.context, max_length) - 1
    if room < 1:
        raise InputError(f"{max_new_tokens} new tokens do not fit: {lm.name} reads {lm.context}.", f"Give at most {lm.context - 1}.")
    rows = []
    for text in texts:
        ids = list(lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) or [lm.document_id]
        if (surplus := len(ids) - room) > 0:
            say(f"Warning: of the prompt's {len(ids):,} tokens {room:,} fit; the first {surplus:,} were left out.", file=sys.stderr)
            ids = ids[surplus:]
        rows.append(ids)
    return rows


def end_ids(lm: LanguageModel) -> set[int]:
    """Return the tokens that end a text: the token between documents, and the end tokens of the checkpoint."""
    own = lm.model.generation_config.eos_token_id if lm.model.generation_config else None
    return {lm.document_id, *(own if isinstance(own, list) else [] if own is None else [own])}


def added_text(lm: LanguageModel, prompt: list[int], ids: list[int], ends: set[int]) -> str:
    """The text that `ids`, without those in `ends`, add: decoded together with the prompt, as some tokenizers drop a first space."""
    added = [token for token in ids if token not in ends]
    return decode(lm.tokenizer, prompt + added)[len(decode(lm.tokenizer, prompt)) :]
