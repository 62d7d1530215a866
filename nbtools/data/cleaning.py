"""What is dropped from the raw rows, and why; what is mended in the rows that stay."""

from __future__ import annotations

import hashlib
import html
import re

# Old web reviews hold Windows-1252 punctuation that was read as Latin-1: these C1 codes are never text otherwise.
_C1 = {code: bytes([code]).decode("cp1252", "ignore") or " " for code in range(0x80, 0xA0)}
_BREAK = re.compile(r"\s*<\s*(?:br|hr|p)\s*/?\s*>\s*", re.IGNORECASE)
_TAG = re.compile(r"</?(?:i|b|em|strong|u)\s*>", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def clean(text: str) -> str:
    """`text` as a person would have typed it: markup such as `<br />` as line breaks, entities and old punctuation resolved."""
    text = html.unescape(text).translate(_C1).replace("\r\n", "\n").replace("\r", "\n")
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = re.sub(r"[ \t\u00a0]+", " ", text)
    return re.sub(r"\n[ \n]*\n", "\n", text).strip()


def is_broken(text: str, label: int | None) -> bool:
    """Whether a row cannot be used: no label, bytes that were lost before it reached us, or hardly any words."""
    if label is None or "\ufffd" in text or _CONTROL.search(text):
        return True
    return len(re.findall(r"[^\W\d_]{2,}", text)) < 3


def fingerprint(text: str) -> int:
    """64 bits that depend on the words of `text` alone, not on case, spacing or line breaks (BLAKE2b)."""
    words = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big")
