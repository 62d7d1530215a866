"""Rows of text out of a file of any common kind, one after the other, so that a file larger than memory can be read.

Every reader yields (place, value): "line 12" and what stands there. What cannot be used is told to `Notes`, with its place; only what
makes the whole file useless raises.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from nbtools.errors import DataError, InputError, printable
from nbtools.runtime import available_memory

Rows = Iterator[tuple[str, Any]]

TEXT, TABLE, LINES, ARRAY, PARQUET = (".txt", ".md", ".text"), (".csv", ".tsv"), (".jsonl", ".ndjson"), (".json",), (".parquet",)
ENDINGS = (*TEXT, *TABLE, *LINES, *ARRAY, *PARQUET)
COMPRESSED: dict[str, Callable[[Path], BinaryIO]] = {".gz": gzip.open, ".xz": lzma.open}  # type: ignore[dict-item]
PIECE = 2_000  # characters; a longer text file is cut at empty lines into pieces of at least so many
LIKELY = ("text", "review", "content", "body", "document", "sentence", "comment", "message", "story", "article")
SNIFFED = 65_536  # bytes that are looked at to tell what a file is
LONGEST = 16_000_000  # characters of a line or a field; War and Peace has three million. More is a damaged file, or one made to fill memory
ARRAY_SHARE = 32  # a JSON array is held whole, and its objects can take so many times its characters
MAGIC = {
    b"%PDF": "a PDF", b"PK\x03\x04": "a ZIP archive (a Word or Excel file is one too)", b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture", b"\x7fELF": "a program", b"SQLite": "a SQLite database", b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
    b"GGUF": "a GGUF model", b"BZh": "a bzip2 archive", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive",
}  # fmt: skip


class Notes:
    """What was met on the way: for each kind how often, and the first few places."""

    SHOWN = 5

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}

    def add(self, kind: str, place: str = "") -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.places.setdefault(kind, [])
        if place and len(shown) < self.SHOWN:
            shown.append(printable(place))

    def lines(self) -> list[str]:
        """ "rows without a text: 3 (line 4, line 9, line 12)"."""
        found = []
        for kind, count in self.counts.items():
            places = ", ".join([*self.places[kind], *(["…"] if count > len(self.places[kind]) > 0 else [])])
            found.append(f"{kind}: {count:,}{f' ({places})' if places else ''}")
        return found


def read_rows(path: Path, column: str | None, encoding: str | None, notes: Notes) -> Rows:
    """The rows of one file. Raises InputError or DataError where it cannot be read at all."""
    kind = kind_of(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty.", "Give a file with some text in it.")
    if kind in PARQUET:
        return _parquet(path, column, notes)
    with _open(path) as file:
        head = _read_head(path, file)
    encoding = encoding or _encoding_of(path, head, notes)
    if kind in TEXT:
        return _text(path, encoding)
    if kind in TABLE:
        return _table(path, column, encoding, notes)
    first = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n")[:1]
    return _array(path, column, encoding, notes) if kind in ARRAY and first == "[" else _lines(path, column, encoding, notes)


def kind_of(path: Path) -> str:
    """The ending that tells the kind of file, without .gz or .xz. Raises InputError for one that is not known."""
    ending = Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{path.name} is no kind of file that can be read here.", f"Give one of {', '.join(ENDINGS)}, or a folder of them."
        )
    return ending


def choose_column(columns: list[str], column: str | None, sample: Mapping[str, Any], where: str) -> str:
    """The column that holds the text: the one that was named, the likeliest by name, or the only one with text. Raises InputError."""
    if column is not None:
        if column in columns:
            return column
        raise InputError(f"{where} has no column {column!r}.", f"It has: {', '.join(columns[:20])}.")
    by_name = {name.strip().lower(): name for name in columns}
    for name in LIKELY:
        if name in by_name:
            return by_name[name]
    texts = [name for name in columns if isinstance(sample.get(name), str) and len(sample[name].split()) > 2]
    if len(texts) == 1:
        return texts[0]
    if len(columns) == 1:
        return columns[0]
    shown = ", ".join(columns[:20])
    raise InputError(f"{where} has several columns, and which holds the text cannot be told.", f"Name it: column=… (there are: {shown}).")


def _open(path: Path) -> BinaryIO:
    opener = COMPRESSED.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")


def _read_head(path: Path, file: BinaryIO) -> bytes:
    """The first bytes. Raises DataError for what is no text."""
    try:
        head = file.read(SNIFFED)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}", "Unpack it yourself, or get it again.") from None
    for mark, words in MAGIC.items():
        if head.startswith(mark):
            raise DataError(f"{path.name} is {words}, not text.", "Export its text first.")
    if b"\0" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path.name} is binary: it holds zero bytes.", "Give a text file; UTF-16 needs its mark at the beginning.")
    return head


def _encoding_of(path: Path, head: bytes, notes: Notes) -> str:
    """By its mark, else UTF-8 where all of it is, else Windows-1252, which is said."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    with _open(path) as file:
        try:
            while block := file.read(SNIFFED):
                decoder.decode(block)
                line += block.count(b"\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            notes.add("files not in UTF-8, read as Windows-1252", f"{path.name}, line {line}")
            return "cp1252"
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise DataError(f"{path.name} cannot be unpacked: {error}", "It seems to be cut off; get it again.") from None
    return "utf-8-sig"


def _decoded(path: Path, encoding: str, newline: str | None = None) -> io.TextIOWrapper:
    try:
        return io.TextIOWrapper(_open(path), encoding=encoding, errors="replace", newline=newline)
    except LookupError:
        raise InputError(
            f"There is no encoding {encoding!r}.", "Common ones: utf-8, utf-16, cp1252, latin-1, gb18030, shift_jis."
        ) from None


def _lines_of(file: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """The lines, none of which may be longer than LONGEST: a few kilobytes of gzip can unpack to one line that fills the memory."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise DataError(f"{path.name}, line {number} has more than {LONGEST:,} characters.", "Break it up; is it what you think it is?")
        yield line


def _text(path: Path, encoding: str) -> Rows:
    """A short file whole, a longer one in pieces that end at an empty line, or where they are as long as a text may be."""
    piece: list[str] = []
    size, start = 0, 1
    with _decoded(path, encoding) as file:
        for number, line in enumerate(_lines_of(file, path), 1):
            if (not line.strip() and size >= PIECE) or size + len(line) > LONGEST:
                yield f"line {start}", "".join(piece)
                piece, size, start = [], 0, number + 1
            piece.append(line)
            size += len(line)
    yield f"line {start}", "".join(piece)


def _table(path: Path, column: str | None, encoding: str, notes: Notes) -> Rows:
    csv.field_size_limit(LONGEST)
    with _decoded(path, encoding, newline="") as file:
        sample = file.read(SNIFFED)
        file.seek(0)
        delimiter = "\t" if kind_of(path) == ".tsv" else _delimiter(sample)
        rows = csv.reader(_lines_of(file, path), delimiter=delimiter)
        try:
            yield from _cells(path, column, rows, notes)
        except csv.Error as error:
            raise DataError(f"{path.name}, line {rows.line_num}: {error}.", "Look at that line; a quotation mark may be missing.") from None


def _cells(path: Path, column: str | None, rows: Any, notes: Notes) -> Rows:
    """The chosen column of a `csv.reader`'s rows, each with the line that it begins at."""
    header: list[str] = next(rows, [])
    line = rows.line_num + 1
    second: list[str] = next(rows, [])
    if not second and not header:
        raise DataError(f"{path.name} holds no rows.", "Give a table with a line of column names and rows below.")
    if len(set(header)) < len(header):
        raise DataError(f"{path.name}, line 1: two columns have the same name.", "Give each column a name of its own.")
    chosen = choose_column(header, column, dict(zip(header, second, strict=False)), path.name)
    at = header.index(chosen)
    for row in _chain(second, rows):
        place, line = f"line {line}", rows.line_num + 1
        if not row:
            continue
        if len(row) != len(header):
            notes.add(f"rows with another number of fields than the {len(header)} of the first line", place)
            continue
        yield place, row[at]


def _chain(first: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    if first:
        yield first
    yield from rest


def _delimiter(sample: str) -> str:
    """The one among comma, semicolon and tab that the first line has most of."""
    line = sample.partition("\n")[0]
    return max((",", ";", "\t"), key=line.count)


def _lines(path: Path, column: str | None, encoding: str, notes: Notes) -> Rows:
    found = Field(column, path.name)
    good = bad = 0
    with _decoded(path, encoding) as file:
        for number, line in enumerate(_lines_of(file, path), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                bad += 1
                notes.add("lines that are no JSON", f"line {number}")
                continue
            good += 1
            yield f"line {number}", found.of(value)
    if bad and not good:
        raise DataError(f"{path.name}: no line of it is JSON.", 'A line looks like {"text": "…"}.')


def _array(path: Path, column: str | None, encoding: str, notes: Notes) -> Rows:
    most = available_memory() // ARRAY_SHARE
    with _decoded(path, encoding) as file:
        if len(text := file.read(most + 1)) > most:
            raise DataError(
                f"{path.name} is one JSON array of more than {most / 1e6:,.0f} million characters, too much to hold at once.",
                'Write one object a line instead, as .jsonl: {"text": "…"}.',
            )
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path.name} is no JSON: {error}.", 'Mend it, or write one object a line: {"text": "…"}.') from None
    found = Field(column, path.name)
    for number, value in enumerate(values, 1):
        yield f"item {number}", found.of(value)


class Field:
    """The text in a JSON value: the value itself, or one field of an object, chosen at the first object."""

    def __init__(self, column: str | None, where: str) -> None:
        self.column, self.where, self.chosen = column, where, ""

    def of(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not self.chosen:
            self.chosen = choose_column(list(map(str, value)), self.column, value, self.where)
        return value.get(self.chosen)


def _parquet(path: Path, column: str | None, notes: Notes) -> Rows:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        head = next(file.iter_batches(batch_size=1), None)
        if head is None or not head.num_rows:
            raise DataError(f"{path.name} holds no rows.", "Give a table with some rows.")
        chosen = choose_column(file.schema_arrow.names, column, head.to_pylist()[0], path.name)
        _refuse_large_chunks(path, file.metadata, file.schema_arrow.names.index(chosen))
        # A value that many rows share stays one, as it is in the file, and each row is taken by itself.
        file = parquet.ParquetFile(path, read_dictionary=[chosen])
        number = 0
        for batch in file.iter_batches(batch_size=100, columns=[chosen]):
            for value in batch.column(0):
                number += 1
                yield f"row {number}", value.as_py()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is no whole Parquet file: {str(error).splitlines()[0]}", "Get it again, or write it anew.") from None


def _refuse_large_chunks(path: Path, metadata: Any, column: int) -> None:
    """Raise DataError where one group of rows of a column, which may be unpacked at once, would fill a quarter of the free memory."""
    sizes = [metadata.row_group(group).column(column).total_uncompressed_size for group in range(metadata.num_row_groups)]
    if max(sizes, default=0) > available_memory() // 4:
        raise DataError(f"{path.name} unpacks to {max(sizes) / 1e9:.1f} GB at a time.", "Write it anew with smaller row groups.")
