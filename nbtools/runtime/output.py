"""Text for places whose encoding may lack a character: a redirect on Windows, a terminal without UTF-8. Output degrades, and goes on."""

from __future__ import annotations

import codecs
import functools
import io
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TextIO

from nbtools.errors import one_line

P = ParamSpec("P")

# What the course's own messages use beyond ASCII, as a reader would write it without.
PLAIN = {
    "●": "*", "○": ".", "★": "*", "☆": ".", "□": "?", "␣": "_", "⏎": "\\n", "⇥": "\\t",
    "–": "-", "—": "-", "−": "-", "‐": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "·": "*", "×": "x", "±": "+-",
    "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "√": "sqrt ", "π": "pi", "∞": "inf",
}  # fmt: skip
ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")  # how Python keeps the bytes of a file name that it cannot decode (PEP 383)
SURROGATES = re.compile("[\ud800-\udfff]")
PLAIN_OR_ESCAPED = "nbtools.plain_or_escaped"  # the name of the error handler below, for encode(errors=…)


def _plain_or_escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode one character that the encoding lacks: as plain ASCII where that reads the same, else as an escape such as "\\u65e5"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, following = error.object[error.start], error.start + 1
    if ESCAPED_BYTES.match(character):
        return bytes([ord(character) - 0xDC00]), following  # the byte of the file name itself
    plain = PLAIN.get(character, unicodedata.normalize("NFKC", character))  # NFKC: "…" is "...", "²" is "2"
    return plain if plain.isascii() else character.encode("ascii", "backslashreplace").decode("ascii"), following


codecs.register_error(PLAIN_OR_ESCAPED, _plain_or_escaped)


@contextmanager
def tolerant_output() -> Iterator[None]:
    """Within this context standard output and standard error write as ASCII the characters that they cannot encode.

    An error handler that the user chose (`PYTHONIOENCODING=ascii:replace`) stays.
    """
    changed: list[tuple[io.TextIOWrapper, str | None]] = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape", "backslashreplace"}:
            changed.append((stream, stream.errors))
            stream.reconfigure(errors=PLAIN_OR_ESCAPED)
    try:
        yield
    finally:
        for stream, errors in changed:
            if not stream.closed:
                stream.reconfigure(errors=errors)


def say(text: object, *, file: TextIO | None = None) -> None:
    """Print a line, in ASCII where the stream lacks a character. For the library's messages: its user's streams stay as they are."""
    stream = file or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = stream.encoding
        print(str(text).encode(encoding, PLAIN_OR_ESCAPED).decode(encoding, "replace"), file=stream, flush=True)


def decoration(function: Callable[P, None]) -> Callable[P, None]:
    """Decorates a function that only prints something beside a notebook's work: what goes wrong in it is a printed line, not an error."""

    @functools.wraps(function)
    def shown(*arguments: P.args, **keywords: P.kwargs) -> None:
        try:
            function(*arguments, **keywords)
        except Exception as error:
            say(one_line(error))

    return shown


def without_surrogates(text: str) -> str:
    """`text` as UTF-8 can hold it: the bytes of file names that Python keeps as surrogates are decoded, and other surrogates replaced."""
    decoded = ESCAPED_BYTES.sub(lambda found: found[0].encode("utf8", "surrogateescape").decode("utf8", "replace"), text)
    return SURROGATES.sub("\ufffd", decoded)
