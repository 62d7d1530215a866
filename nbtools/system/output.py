"""Text output that never fails for lack of a character: a redirect on Windows, a terminal without UTF-8, a spreadsheet."""

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

# Plain ASCII for the other characters that the course's own messages use.
PLAIN = {
    "●": "*", "○": ".", "★": "*", "☆": ".", "□": "?", "␣": "_", "⏎": "\\n", "⇥": "\\t",
    "–": "-", "—": "-", "−": "-", "‐": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "·": "*", "×": "x", "±": "+-",
    "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "√": "sqrt ", "π": "pi", "∞": "inf",
}  # fmt: skip
ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")  # how Python keeps the bytes of a file name that it cannot decode (PEP 383)
SURROGATES = re.compile("[\ud800-\udfff]")
PLAIN_OR_ESCAPED = "nbtools.plain_or_escaped"  # the error handler below, for encode(errors=…)


def _plain_or_escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode one character that the encoding lacks: as equivalent ASCII, else as an escape such as "\\u65e5"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, following = error.object[error.start], error.start + 1
    if ESCAPED_BYTES.match(character):
        return bytes([ord(character) - 0xDC00]), following  # the original byte of the file name
    plain = PLAIN.get(character, unicodedata.normalize("NFKC", character))  # NFKC: "…" is "...", "²" is "2"
    return plain if plain.isascii() else character.encode("ascii", "backslashreplace").decode("ascii"), following


codecs.register_error(PLAIN_OR_ESCAPED, _plain_or_escaped)


@contextmanager
def tolerant_output() -> Iterator[None]:
    """In this context standard output and standard error replace characters that they cannot encode by ASCII.

    An error handler that the user chose (`PYTHONIOENCODING=ascii:replace`) is kept.
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
    """Print a message; characters that the stream cannot encode are replaced by ASCII, and the stream itself is not reconfigured."""
    stream = file or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = stream.encoding
        print(str(text).encode(encoding, PLAIN_OR_ESCAPED).decode(encoding, "replace"), file=stream, flush=True)


def decoration(function: Callable[P, None]) -> Callable[P, None]:
    """Decorate a function that only prints something: an error in it is printed as one line, and does not stop the notebook."""

    @functools.wraps(function)
    def shown(*arguments: P.args, **keywords: P.kwargs) -> None:
        try:
            function(*arguments, **keywords)
        except Exception as error:
            say(one_line(error))

    return shown


def without_surrogates(text: str) -> str:
    """`text` without surrogates, so that UTF-8 can encode it.

    Undecodable bytes of file names, which Python keeps as surrogates (PEP 383), are decoded; other surrogates become U+FFFD.
    """
    decoded = ESCAPED_BYTES.sub(lambda found: found[0].encode("utf8", "surrogateescape").decode("utf8", "replace"), text)
    return SURROGATES.sub("\ufffd", decoded)


def spreadsheet_cell(text: str) -> str:
    """`text` for a CSV file, with an apostrophe if a spreadsheet would take it for a formula: "'=1+1" (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
