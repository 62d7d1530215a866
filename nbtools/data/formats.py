"""Read rows of text from files of common formats, one at a time, so that a file larger than memory can be read.

Every reader yields (position, value), for example ("line 12", "A good film."). Rows that cannot be used are recorded in `Notes` with their
position; an error is raised only if the entire file is unusable.
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
class ReadOptions:
    """How files are read. None means that the value is determined from the file; a guess is recorded in the notes."""

    column: str | None = None
    """Name of the column with the text, or a path such as "data.text"."""
    encoding: str | None = None
    """Encoding of text files."""
    unit: str | None = None
    """What one text is in a plain text file: "line", "paragraph" or "document"."""


def read_rows(path: Path, options: ReadOptions, notes: Notes) -> Rows:
    """Yield the rows of one file. Raises InputError or DataError if the file cannot be read at all."""
    kind = kind_of(path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty.", "Give a file with some text in it.")
        if kind in PARQUET:
            yield from read_parquet(path, options.column, notes)
            return
        encoding = text_encoding(path, options.encoding, notes)
        if kind in TEXT:
            # The lines of a Markdown file are headings, list items and table rows, so the file is one document.
            yield from read_plain(path, encoding, options.unit or ("document" if kind == ".md" else None), notes)
        elif kind in TABLE:
            yield from read_csv(path, options.column, encoding, notes)
        else:
            yield from read_json(path, options.column, encoding, notes, lines=kind in LINES)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read: {error}", "Check its permissions, or download it again.") from None


def kind_of(path: Path) -> str:
    """Return the suffix that tells the format, without .gz or .xz. Raises InputError for an unknown suffix."""
    ending = Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()
    if ending not in ENDINGS:
        remedy = f"Give one of {', '.join(ENDINGS)}, or a folder of them."
        raise InputError(f"{path.name} is not a kind of file that can be read here.", remedy)
    return ending
