"""Rows of text out of a file of any common kind, one after the other, so that a file larger than memory can be read.

Every reader yields (place, value): "line 12" and what stands there. What cannot be used is told to `Notes`, with its place; only what
makes the complete file useless raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtools.data.json_files import read_json
from nbtools.data.notes import Notes
from nbtools.data.opening import COMPRESSED, UNREADABLE, text_encoding
from nbtools.data.plain import read_plain
from nbtools.data.tables import read_csv, read_parquet
from nbtools.errors import DataError, InputError

Rows = Iterator[tuple[str, Any]]

TEXT, TABLE, LINES, VALUE, PARQUET = (".txt", ".md", ".text"), (".csv", ".tsv"), (".jsonl", ".ndjson"), (".json",), (".parquet",)
ENDINGS = (*TEXT, *TABLE, *LINES, *VALUE, *PARQUET)


@dataclass(frozen=True)
class Reading:
    """How files are read; None: found out, and said where it is a guess.

    column    name of the column with the text, or a path such as "data.text"
    encoding  of text files
    unit      "line", "paragraph" or "document": what one text is in a plain text file
    """

    column: str | None = None
    encoding: str | None = None
    unit: str | None = None


def read_rows(path: Path, reading: Reading, notes: Notes) -> Rows:
    """The rows of one file. Raises InputError or DataError where it cannot be read at all."""
    kind = kind_of(path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty.", "Give a file with some text in it.")
        if kind in PARQUET:
            yield from read_parquet(path, reading.column, notes)
            return
        encoding = text_encoding(path, reading.encoding, notes)
        if kind in TEXT:
            # The lines of a Markdown file are headings, lists and tables: it is a document.
            yield from read_plain(path, encoding, reading.unit or ("document" if kind == ".md" else None), notes)
        elif kind in TABLE:
            yield from read_csv(path, reading.column, encoding, notes)
        else:
            yield from read_json(path, reading.column, encoding, notes, lines=kind in LINES)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read: {error}", "Look at its permissions, or get it again.") from None


def kind_of(path: Path) -> str:
    """The ending that tells the kind of file, without .gz or .xz. Raises InputError for one that is not known."""
    ending = Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{path.name} is no kind of file that can be read here.", f"Give one of {', '.join(ENDINGS)}, or a folder of them."
        )
    return ending
