"""How a token looks, and which characters of the text it covers: the one place that knows."""

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
    """`text` with spaces, line breaks and tabs made visible, and every other control character and mark of direction as "<U+202E>"."""
    if not isinstance(text, str):
        raise InputError(f"{text!r} is no text.", "Give text; `decode` makes it from token ids.")
    return printable(text).replace(" ", SPACE).replace("\n", NEWLINE).replace("\t", TAB)


@checked()
def token_texts(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[str]]:
    """The ids of `text` and, for each, the characters that it covers.

    Byte-level tokenizers cut inside a character (an emoji is four bytes). Offsets then give the same character to each of its
    tokens; all but the first show as "·", so that the texts joined, without "·", are `text` again.
    """
    text = repair(text)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    pieces, end = [], 0
    for start, stop in encoded["offset_mapping"]:
        pieces.append("·" if stop <= end and stop > start else text[max(start, end) : stop])
        end = max(end, stop)
    return list(encoded["input_ids"]), pieces


def control_tokens_in(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> dict[str, int]:
    """In how many of `texts` each of the tokenizer's control tokens stands, spelled out (`<|endoftext|>`, say)."""
    spelled = [str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
    counts = Counter(one for text in texts for one in spelled if one in text)
    return dict(counts.most_common())


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of `ids` without special tokens, spaces as they are."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@checked()
def id_texts(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """What each id would add to a text, for ids that come from a model and have no offsets (candidates, say).

    An id that is only a part of a character shows its bytes as hexadecimal.
    """
    texts = []
    for one in ids:
        text = str(tokenizer.decode([one]))
        texts.append(text if "�" not in text else f"<bytes {_as_bytes(str(tokenizer.convert_ids_to_tokens(one)))}>")
    return texts


def _as_bytes(token: str) -> str:
    """Hexadecimal bytes of a byte-level token, undoing GPT-2's table of printable stand-ins (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(shifted)}
    return " ".join(f"{table[char]:02x}" if char in table else char for char in token)
