"""Read one column of a table from a CSV file, with any common delimiter, or from a Parquet file."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from nbtools.data.columns import COMMON_NAMES, choose_column, extract_items
from nbtools.data.notes import Notes
from nbtools.data.opening import MAX_LINE_LENGTH, SAMPLE_SIZE, decoded, lines_of
from nbtools.errors import DataError
from nbtools.system import available_memory

DELIMITERS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=([^\r\n])"?[\r\n]*', re.IGNORECASE)  # a first line that Excel understands, not a row
DIGIT = re.compile(r"\d")
SAMPLE_ROWS = 50  # rows from which the delimiter and the presence of a header are detected
END = "\0\x1a\0"  # a line after the last one: a field that contains it has an opening quotation mark and no closing one

Row = tuple[int, list[str]]  # the line at which it starts, its fields


def read_csv(path: Path, column: str | None, encoding: str, notes: Notes) -> Iterator[tuple[str, Any]]:
    """Yield (position, cell) for the column with the text; the position is the line at which the row starts."""
    csv.field_size_limit(MAX_LINE_LENGTH)
    with decoded(path, encoding, newline="") as file:
        sample = file.read(SAMPLE_SIZE)
        file.seek(0)
        first = 1
        if declared := SEPARATOR_LINE.fullmatch(sample.partition("\n")[0]):
            file.readline()
            first, delimiter = 2, declared[1]
        else:
            delimiter = "\t" if ".tsv" in path.name.lower()[-7:] else guess_delimiter(sample)
        lines = lines_of(file, path, first)
        if delimiter is None:
            notes.remark(f"{path.name}: its lines have different numbers of commas, so it is read as a single column")
            rows: Iterator[Row] = ((number, [line.rstrip("\r\n")]) for number, line in enumerate(lines, first) if line.strip())
        else:
            rows = _numbered(lines, delimiter, path, first)
        yield from _cells(path, column, rows, notes)


def guess_delimiter(sample: str) -> str | None:
    """Return the delimiter that gives most of the first rows the same number of fields, above one; None if there is no such delimiter.

    None means that commas and similar characters are punctuation, and the file is a single column.
    """
    shares: dict[str, tuple[float, int]] = {}
    names: list[str] = []
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in islice(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), SAMPLE_ROWS) if row]
        except csv.Error:
            rows = []
        width = len(rows[0]) if rows else 0
        if width > 1:
            names += [name.strip().lower() for name in rows[0]]
            shares[delimiter] = sum(len(row) == width for row in rows) / len(rows), width
        elif rows and sum(len(row) > 1 for row in rows) > len(rows) / 2 and delimiter != "\t":
            shares.setdefault(delimiter, (0.0, 0))
    if not shares:
        return ","
    best = max(shares, key=lambda delimiter: shares[delimiter])
    return best if shares[best][0] > 0.5 or set(names) & set(COMMON_NAMES) else None


def _numbered(lines: Iterator[str], delimiter: str, path: Path, first: int) -> Iterator[Row]:
    """Yield the rows, each with the line at which it starts. Raises DataError for a quotation mark that is never closed."""
    reader = csv.reader(chain(lines, [END]), delimiter=delimiter)
    line = first
    try:
        for row in reader:
            if row and row[-1].endswith(END) and row != [END]:
                problem = f"{path.name}, line {line}: a quotation mark is opened here and never closed."
                raise DataError(problem, "Close it, or double it if it is part of the text.")
            if row and row != [END]:
                yield line, row
            line = first + reader.line_num
    except csv.Error as error:
        problem = f"{path.name}, line {first + reader.line_num - 1}: {error}."
        raise DataError(problem, "Check that line; a quotation mark may be missing.") from None


def _cells(path: Path, column: str | None, rows: Iterator[Row], notes: Notes) -> Iterator[tuple[str, Any]]:
    first = list(islice(rows, SAMPLE_ROWS))
    if not first:
        raise DataError(f"{path.name} holds no rows.", "Give a table with a line of column names and rows below.")
    header, below = first[0][1], [row for _, row in first[1:] if len(row) == len(first[0][1])]
    if column is None and not _has_names(header, below):
        header, below = [f"column {number}" for number in range(1, len(header) + 1)], [row for _, row in first]
        notes.remark(f"{path.name} has no line of column names: its first line is read as a text")
    else:
        del first[0]
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise DataError(f"{path.name}, line 1: two columns have the same name, {twice[0]!r}.", "Give each column a different name.")
    sample = dict(zip(header, below[0] if below else [""] * len(header), strict=False))
    index = header.index(choose_column(sample, column, path.name))
    for line, row in chain(first, rows):
        if len(row) != len(header):
            notes.add(f"rows that do not have {len(header)} fields like the first line", f"line {line}")
            continue
        yield f"line {line}", row[index]


def _has_names(header: list[str], below: list[list[str]]) -> bool:
    """Return whether the first line holds column names, rather than a row like those below it."""
    names = [name.strip() for name in header]
    if any(name.lower() in COMMON_NAMES for name in names) or not below:
        return True
    columns = [(name, [row[index].strip() for row in below]) for index, name in enumerate(names)]
    if any(name and (name.replace(".", "").isdecimal() or name in cells) for name, cells in columns):
        return False  # a number, or a value that occurs again below
    if any(not DIGIT.search(name) and all(map(DIGIT.search, cells)) for name, cells in columns):
        return True  # a name above numbers or dates
    lengths = [(name, len(name.split()), statistics.median(len(cell.split()) for cell in cells)) for name, cells in columns]
    if len(names) > 1 and any(words == 1 and usual > 2 for _, words, usual in lengths):
        return True  # a single word above texts
    several = [(name, words, usual) for name, words, usual in lengths if words > 1]
    return not any(name[-1] in ".!…。！" or (words > 3 and name[-1] != "?") or 2 * words > usual for name, words, usual in several)


def read_parquet(path: Path, column: str | None, notes: Notes) -> Iterator[tuple[str, Any]]:
    """Yield the values of the column with the text; `column` may be a path into a nested column."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        head = next(file.iter_batches(batch_size=1), None)
        if head is None or not head.num_rows:
            raise DataError(f"{path.name} holds no rows.", "Give a table with some rows.")
        chosen = choose_column(head.to_pylist()[0], column, path.name)
        outer = max((name for name in file.schema_arrow.names if f"{chosen}.".startswith(f"{name}.")), key=len)
        _check_row_groups(path, file.metadata, outer)
        kind = file.schema_arrow.field(outer).type
        # As a dictionary column, a string that many rows share is stored once, as in the file; rows are converted one by one.
        shared = [outer] if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) else None
        file = parquet.ParquetFile(path, read_dictionary=shared)
        values = (value for batch in file.iter_batches(batch_size=100, columns=[outer]) for value in batch.column(0))
        yield from extract_items(({outer: value.as_py()} for value in values), chosen, path.name, notes, "row")
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path.name} is not a complete Parquet file: {reason}", "Download it again, or write a new one.") from None


def _check_row_groups(path: Path, metadata: Any, name: str) -> None:
    """Raise DataError if one row group of a column, which may be unpacked at once, would fill a quarter of the free memory."""
    largest = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        chunks = [group.column(index) for index in range(group.num_columns)]
        inside = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(f"{name}.")]
        largest = max(largest, sum(chunk.total_uncompressed_size for chunk in inside))
    if largest > available_memory() // 4:
        raise DataError(f"{path.name} unpacks to {largest / 1e9:.1f} GB at a time.", "Write it again with smaller row groups.")
