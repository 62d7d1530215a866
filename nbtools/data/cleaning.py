"""What is dropped from the raw rows, and why; what is mended in the rows that stay."""

from __future__ import annotations

import hashlib
import html
import re

# Old web reviews hold Windows-1252 punctuation that was read as Latin-1: these C1 codes are never text otherwise.
_C1 = {code: bytes([code]).decode("cp1252", "ignore") or " " for code in range(0x80, 0xA0)}
# No two neighbours in these patterns can match the same characters, and no match begins inside a run of blanks: on a long run of them
# a pattern that may would take time with the square of its length.
_BREAK = re.compile(r"<\s*(?:br|hr|p)\s*(?:/\s*)?>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:i|b|em|strong|u)\s*>", re.IGNORECASE)
_HUGE_ENTITY = re.compile(r"&#[0-9]{20,};?")  # Python refuses to read numbers of thousands of digits
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_LOST = re.compile("[\ufffd\x00]")
_MARKUP = re.compile(r"</?(?:br|hr|p|i|b|em|strong|u|div|span|a|li)(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|nbsp|#[0-9]{1,7});", re.IGNORECASE)
_BLOCK_TAG = re.compile(r"</?(?:p|div|li|ul|ol|tr|table|h[1-6]|blockquote|section|article)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(r"</?(?:i|b|em|strong|u|s|a|span|font|small|big|sub|sup|code|img|td|th)(?:\s[^<>]*)?/?>", re.IGNORECASE)
# Scripts that are written without blanks between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f\U00020000-\U0003ffff]")
_LONG_WORD = 30  # characters; a longer "word" is something else: a sequence of bases, a formula


def clean(text: str) -> str:
    """A review as a person would have typed it: markup such as `<br />` as line breaks, entities and old punctuation resolved."""
    text = _unescape(text).translate(_C1).replace("\r\n", "\n").replace("\r", "\n")
    text = _TAG.sub("", "\n".join(part.strip() for part in _BREAK.split(text)))
    text = re.sub(r"[ \t\u00a0]+", " ", text)
    return re.sub(r"\n[ \n]*\n", "\n", text).strip()


def tidy(text: str) -> str:
    """`text` as it is, with line ends as "\\n", and without empty lines before and after."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    indentation = len(text) - len(text.lstrip())
    return text[text.rfind("\n", 0, indentation) + 1 :]


def plain_of_html(text: str) -> str:
    """The words of a piece of HTML: block tags as line breaks, other common tags taken out, entities resolved, blanks as one."""
    return clean(_INLINE_TAG.sub("", _BLOCK_TAG.sub("<br>", text)))


def has_markup(text: str) -> bool:
    """Whether HTML's tags or entities stand in `text`."""
    return _MARKUP.search(text) is not None


def has_lost_bytes(text: str) -> bool:
    """Whether bytes were lost before the text reached us: they were replaced by U+FFFD, or by zeros."""
    return _LOST.search(text) is not None


def is_too_short(text: str) -> bool:
    """Whether a text is a single word; in scripts without blanks, a single character."""
    return len(text) < _LONG_WORD and len(text.split()) + max(0, len(_UNSPACED.findall(text)) - 1) < 2


def is_broken(text: str, label: int | None) -> bool:
    """Whether a review cannot be used: no label, bytes that were lost before it reached us, or hardly any words."""
    if label is None or "\ufffd" in text or _CONTROL.search(text):
        return True
    return len(re.findall(r"[^\W\d_]{2,}", text)) < 3


def fingerprint(text: str) -> int:
    """64 bits that depend on the words of `text` alone, not on case, spacing or line breaks (BLAKE2b)."""
    words = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big")


def _unescape(text: str) -> str:
    return html.unescape(_HUGE_ENTITY.sub("\ufffd", text))
