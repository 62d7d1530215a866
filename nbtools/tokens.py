"""Text of tokens for display, and the characters that each token covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbtools.errors import InputError, printable
from nbtools.texts import repair
from nbtools.values import checked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPACE, NEWLINE, TAB = "␣", "⏎", "⇥"


def visible(text: str) -> str:
    """Return `text` with visible spaces, line breaks and tabs, and other control and bidirectional characters as "<U+202E>".

    Raises InputError if `text` is not a string.
    """
    if not isinstance(text, str):
        raise InputError(f"{text!r} is not text.", "Give a string; `decode` makes it from token ids.")
    return printable(text).replace(" ", SPACE).replace("\n", NEWLINE).replace("\t", TAB)


@checked()
def token_texts(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[str]]:
    """Return the token ids of `text` and the characters that each token covers.

    Byte-level tokenizers split inside a character (an emoji is four bytes). The offsets of all its tokens then cover the same character;
    all tokens but the first are shown as "·", so that joining the texts without "·" gives `text`.
    """
    text = repair(text)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    pieces, end = [], 0
    for start, stop in encoded["offset_mapping"]:
        pieces.append("·" if stop <= end and stop > start else text[max(start, end) : stop])
        end = max(end, stop)
    return list(encoded["input_ids"]), pieces


def control_tokens_in(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> dict[str, int]:
    """Return how many of `texts` contain each of the tokenizer's control tokens, spelled out (for example `<|endoftext|>`)."""
    control_tokens = [str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
    counts = Counter(token for text in texts for token in control_tokens if token in text)
    return dict(counts.most_common())


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Return the text of `ids` without special tokens; spaces are not changed."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@checked()
def id_texts(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Return the text of each id on its own, for example of candidates for the next token, which have no offsets.

    An id that is only part of a character is shown as its bytes in hexadecimal.
    """
    texts = []
    for token_id in ids:
        text = str(tokenizer.decode([token_id]))
        texts.append(text if "�" not in text else f"<bytes {_as_bytes(str(tokenizer.convert_ids_to_tokens(token_id)))}>")
    return texts


def _as_bytes(token: str) -> str:
    """Return the bytes of a byte-level token in hexadecimal, by inverting GPT-2's byte-to-character table (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(shifted)}
    return " ".join(f"{table[char]:02x}" if char in table else char for char in token)
