"""Read JSON Lines, and JSON files with one value: an array, an object of columns, an object with an array in it, or a single object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbtools.data.columns import TextField, extract_items, flatten, get_path, parse_turns
from nbtools.data.notes import Notes
from nbtools.data.opening import MAX_LINE_LENGTH, decoded, lines_of
from nbtools.errors import DataError
from nbtools.system import available_memory

BYTES_PER_CHARACTER = 32  # memory that a parsed JSON value can take, per character of the file
LIKE_THIS = 'A line looks like {"text": "…"}.'


def read_json(path: Path, column: str | None, encoding: str, notes: Notes, *, lines: bool) -> Iterator[tuple[str, Any]]:
    """Yield the texts of a JSON file. lines: whether its suffix says that it has one value per line (.jsonl)."""
    if not _is_one_value(path, encoding, lines):
        yield from _lines(path, column, encoding, notes)
        return
    try:
        value = _value(path, encoding)
    except (ValueError, RecursionError) as error:
        if lines:
            raise DataError(f"{path.name}: no line of it is JSON.", LIKE_THIS) from None
        raise DataError(f"{path.name} is not valid JSON: {error}.", 'Correct it, or write one object per line: {"text": "…"}.') from None
    rows, column = _rows(value, column, path.name, notes)
    yield from extract_items(rows, column, path.name, notes)


def _is_one_value(path: Path, encoding: str, lines: bool) -> bool:
    """Return whether the file is one JSON value, judged by its first two non-empty lines.

    If the first line is complete and another follows, the file has one value per line. A first line that is not valid JSON is a damaged
    line in a .jsonl file, unless it only opens an array or object; in a .json file it is the start of a value that spans many lines.
    """
    with decoded(path, encoding) as file:
        filled = (line.strip() for line in iter(lambda: file.readline(MAX_LINE_LENGTH + 1), "") if line.strip())
        first, second = next(filled, ""), next(filled, "")
    if not first.startswith(("[", "{")):
        return False
    if not second:
        return not lines or first.startswith("[")
    if lines:
        return first in ("[", "{", "[{")
    # If the second line is complete, only the first one is damaged.
    return _parsed(first) is None and not isinstance(_parsed(second), dict)


def _parsed(line: str) -> Any:
    """Return the value of a line, or None if it is not valid JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lines(path: Path, column: str | None, encoding: str, notes: Notes) -> Iterator[tuple[str, Any]]:
    field = TextField(column, path.name, notes)
    good = bad = 0
    with decoded(path, encoding) as file:
        for number, line in enumerate(lines_of(file, path), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                bad += 1
                notes.add("lines that are not valid JSON", f"line {number}")
                continue
            good += 1
            yield f"line {number}", field.extract(value, f"line {number}")
    if bad and not good:
        raise DataError(f"{path.name}: no line of it is JSON.", LIKE_THIS)


def _value(path: Path, encoding: str) -> Any:
    limit = available_memory() // BYTES_PER_CHARACTER
    with decoded(path, encoding) as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        problem = f"{path.name} is one JSON value of more than {limit / 1e6:,.0f} million characters, too large for this machine's memory."
        raise DataError(problem, 'Write one object per line instead, as .jsonl: {"text": "…"}.')
    return json.loads(text)


def _rows(value: Any, column: str | None, where: str, notes: Notes) -> tuple[list[Any], str | None]:
    """Return the rows in a JSON value, and the column in those rows."""
    if isinstance(value, list):
        return ([value] if parse_turns(value) else value), column
    if not isinstance(value, dict):
        return [value], column
    columns = list(value.values())
    if columns and all(isinstance(cells, dict) and cells and all(map(str.isdecimal, cells)) for cells in columns):
        columns = [list(cells.values()) for cells in columns]  # as pandas writes them: {"text": {"0": …, "1": …}}
    is_table = all(isinstance(cells, list) and cells and not isinstance(cells[0], dict) for cells in columns)
    if is_table and len(set(map(len, columns))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)], column
    arrays = {path: inner for path, inner in flatten(value).items() if isinstance(inner, list) and inner and not parse_turns(inner)}
    chosen = next((path for path in arrays if column and f"{column}.".startswith(f"{path}.")), None)
    inside = column.removeprefix(chosen).removeprefix(".") if chosen and column else column
    if chosen is None and len(arrays) == 1 and (column is None or get_path(value, column) is None):
        chosen = next(iter(arrays))
    if chosen is not None:
        notes.remark(f"{where}: the rows are the array under {chosen!r}")
        return arrays[chosen], inside or None
    rows = list(value.values())
    alike = len(rows) > 1 and all(isinstance(row, dict) for row in rows) and bool(set.intersection(*map(set, rows)))
    if alike and (column is None or get_path(value, column) is None):  # objects with a name in common, under their ids
        notes.remark(f"{where}: the rows are the {len(rows):,} objects in its one object")
        return rows, column
    return [value], column
