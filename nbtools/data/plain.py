"""Read plain text files as one text per line, per paragraph or per document; the unit is guessed if it is not given."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from nbtools.data.notes import Notes
from nbtools.data.opening import MAX_LINE_LENGTH, SAMPLE_SIZE, decoded, lines_of

UNITS = ("line", "paragraph", "document")  # what one text is
PIECE = 2_000  # characters; a longer document is split at empty lines into pieces of at least this length
MIN_TEXTS = 10  # with fewer texts, none can be held out, so a unit that gives fewer is not guessed
WRAPPED_WIDTH = 100  # characters; longer lines are paragraphs without line breaks, not wrapped lines


def read_plain(path: Path, encoding: str, unit: str | None, notes: Notes) -> Iterator[tuple[str, str]]:
    """Yield (position, text), where the position is the line at which the text starts."""
    if unit is None:
        with decoded(path, encoding) as file:
            unit = guess_unit(file.read(SAMPLE_SIZE))
        others = " or ".join(repr(other) for other in UNITS if other != unit)
        pieces = f", a long one in pieces of {PIECE:,} characters" if unit == "document" else ""
        notes.remark(f"text files read as one text per {unit}{pieces} (guessed; unit={others} reads them otherwise)")
    with decoded(path, encoding) as file:
        numbered = enumerate(lines_of(file, path), 1)
        if unit == "line":
            yield from ((f"line {number}", line) for number, line in numbered if line.strip())
        else:
            yield from _blocks(numbered, PIECE if unit == "document" else 1)


def _blocks(numbered: Iterator[tuple[int, str]], min_size: int) -> Iterator[tuple[str, str]]:
    """Yield lines up to an empty line that follows at least `min_size` characters, or up to the maximum length of a text."""
    piece: list[str] = []
    size, start = 0, 1
    for number, line in numbered:
        is_empty = not line.strip()
        if (is_empty and size >= min_size) or size + len(line) > MAX_LINE_LENGTH:
            yield f"line {start}", "".join(piece)
            piece, size = [], 0
        if not piece:
            start = number
        if piece or not is_empty:
            piece.append(line)
            size += len(line)
    if piece:
        yield f"line {start}", "".join(piece)


def guess_unit(head: str) -> str:
    """Guess the unit from the beginning of a file.

    Blocks between empty lines are texts, unless their lines are wrapped or indented, as in a book wrapped at 72 characters, in verse or in
    code. Without empty lines, each line is a text, unless the lines are wrapped or indented.
    """
    filled = [line for line in head.split("\n") if line.strip()]
    blocks = ["\n".join(lines) for is_text, lines in groupby(head.split("\n"), key=lambda line: bool(line.strip())) if is_text]
    if not filled:
        return "document"
    indented = sum(line[0] in " \t" for line in filled) / len(filled)
    if len(blocks) >= MIN_TEXTS:
        broken = sum("\n" in block for block in blocks) / len(blocks)
        long = sum(len(line) > WRAPPED_WIDTH for line in filled) / len(filled)
        return "document" if indented > 0.1 or (broken > 0.3 and long < 0.05) else "paragraph"
    if len(filled) < MIN_TEXTS or indented > 0.1 or len(filled) < MIN_TEXTS * len(blocks):
        return "document"
    longest = sorted(map(len, filled))[int(len(filled) * 0.9)]
    full = sum(len(line) > 0.8 * longest for line in filled) / len(filled)
    ended = sum(line.rstrip()[-1] in ".!?…。！？\"'”’)" for line in filled) / len(filled)
    is_wrapped = longest <= WRAPPED_WIDTH and full > 0.7 and ended < 0.3 and statistics.median(map(len, filled)) > 40
    return "document" if is_wrapped else "line"
