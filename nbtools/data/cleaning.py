"""Clean raw texts: replace markup and broken punctuation, and recognise texts that cannot be used."""

from __future__ import annotations

import hashlib
import html
import re

# Old web reviews contain Windows-1252 punctuation that was decoded as Latin-1; these C1 codes have no other use in text.
_C1 = {code: bytes([code]).decode("cp1252", "ignore") or " " for code in range(0x80, 0xA0)}
# In these patterns no two neighbouring parts can match the same characters, and no match starts inside a run of spaces. Otherwise a long
# run of spaces would take time quadratic in its length.
_BREAK = re.compile(r"<\s*(?:br|hr|p)\s*(?:/\s*)?>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:i|b|em|strong|u)\s*>", re.IGNORECASE)
_HUGE_ENTITY = re.compile(r"&#[0-9]{20,};?")  # int() raises ValueError for numbers of thousands of digits
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_LOST = re.compile("[\ufffd\x00]")
_MARKUP = re.compile(r"</?(?:br|hr|p|i|b|em|strong|u|div|span|a|li)(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|nbsp|#[0-9]{1,7});", re.IGNORECASE)
_BLOCK_TAG = re.compile(r"</?(?:p|div|li|ul|ol|tr|table|h[1-6]|blockquote|section|article)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(r"</?(?:i|b|em|strong|u|s|a|span|font|small|big|sub|sup|code|img|td|th)(?:\s[^<>]*)?/?>", re.IGNORECASE)
# Scripts written without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f\U00020000-\U0003ffff]")
_LONG_WORD = 30  # characters; anything longer is not a single word but, for example, a DNA sequence or a formula


def clean(text: str) -> str:
    """Return a review with markup such as `<br />` turned into line breaks, and HTML entities and Windows-1252 punctuation decoded."""
    text = html.unescape(_HUGE_ENTITY.sub("\ufffd", text)).translate(_C1).replace("\r\n", "\n").replace("\r", "\n")
    text = _TAG.sub("", "\n".join(part.strip() for part in _BREAK.split(text)))
    text = re.sub(r"[ \t\u00a0]+", " ", text)
    return re.sub(r"\n[ \n]*\n", "\n", text).strip()


def tidy(text: str) -> str:
    """Return `text` with line endings as "\\n" and without empty lines at the start and end; nothing else is changed."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    indentation = len(text) - len(text.lstrip())
    return text[text.rfind("\n", 0, indentation) + 1 :]


def html_to_text(text: str) -> str:
    """Return the text of HTML: block tags become line breaks, other tags are removed, entities are decoded, runs of spaces are one."""
    return clean(_INLINE_TAG.sub("", _BLOCK_TAG.sub("<br>", text)))


def has_markup(text: str) -> bool:
    """Return whether `text` contains HTML tags or entities."""
    return _MARKUP.search(text) is not None


def has_lost_bytes(text: str) -> bool:
    """Return whether `text` contains U+FFFD or zero bytes, which replace bytes lost before the text was stored."""
    return _LOST.search(text) is not None


def is_too_short(text: str) -> bool:
    """Return whether `text` is at most one word or, in scripts without spaces, at most one character."""
    return len(text) < _LONG_WORD and len(text.split()) + max(0, len(_UNSPACED.findall(text)) - 1) < 2


def is_broken(text: str) -> bool:
    """Return whether a review cannot be used: it contains lost bytes or control characters, or has fewer than 3 words."""
    return "\ufffd" in text or _CONTROL.search(text) is not None or len(re.findall(r"[^\W\d_]{2,}", text)) < 3


def fingerprint(text: str) -> int:
    """Return a 64-bit hash (BLAKE2b) of the words of `text`, independent of case, spacing and line breaks."""
    words = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big")
