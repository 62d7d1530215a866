"""Open a text file: decompress it, reject binary files, detect the encoding, and read it line by line."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from nbtools.data.notes import Notes
from nbtools.errors import DataError, InputError

COMPRESSED: dict[str, Callable[[Path], BinaryIO]] = {".gz": gzip.open, ".xz": lzma.open}  # type: ignore[dict-item]
UNREADABLE = (OSError, EOFError, lzma.LZMAError)
SAMPLE_SIZE = 65_536  # bytes at the start of a file from which its format is detected
# Characters in a line or a field. War and Peace has three million; more means a damaged file, or one made to fill the memory.
MAX_LINE_LENGTH = 16_000_000
MAGIC = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive (a Word or Excel file is one too)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x7fELF": "a program",
    b"SQLite format 3\0": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
    b"GGUF": "a GGUF model",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"PAR1": "a Parquet file",
}
BYTE_ORDER_MARKS = {  # UTF-32 first, because its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressing .gz and .xz."""
    opener = COMPRESSED.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")


def text_encoding(path: Path, named: str | None, notes: Notes) -> str:
    """Return the encoding of a file.

    It is `named` if given, else that of the byte order mark, else UTF-8 if the file is valid UTF-8, else Windows-1252, with a note.

    Raises InputError for an unknown encoding, DataError for a file that cannot be unpacked or is not text.
    """
    try:
        with open_file(path) as file:
            head = file.read(SAMPLE_SIZE)
            for magic, words in MAGIC.items():
                if head.startswith(magic):
                    raise DataError(f"{path.name} is {words}, not text.", "Export its text first.")
            mark = next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
            if named is not None:
                return _named_encoding(path, head, named, mark)
            if mark and mark != "utf-8-sig":
                return mark
            if b"\0" in head:
                remedy = "Give a text file; UTF-16 without a byte order mark needs encoding='utf-16-le'."
                raise DataError(f"{path.name} is binary: it holds zero bytes.", remedy)
            return _utf8_or_windows(path, chain([head], iter(lambda: file.read(SAMPLE_SIZE), b"")), notes)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}", "Unpack it yourself, or download it again.") from None


def _named_encoding(path: Path, head: bytes, named: str, mark: str | None) -> str:
    """Return the codec for a requested encoding that skips the byte order mark, so that the mark is not read as part of the text."""
    try:
        name = codecs.lookup(named).name
        text = head.decode(name, "replace")  # some codecs do not produce text: hex, zip
    except (LookupError, ValueError):
        remedy = "Common ones: utf-8, utf-16, utf-16-le, cp1252, latin-1, gb18030, shift_jis."
        raise InputError(f"There is no encoding {named!r}.", remedy) from None
    if "\0" in text:
        raise DataError(f"{path.name} is binary: read as {named}, it holds zero bytes.", "Give a text file, or name another encoding.")
    if name.startswith("utf-8"):
        return "utf-8-sig"
    return mark if mark and name.startswith(mark) else name


def _utf8_or_windows(path: Path, blocks: Iterable[bytes], notes: Notes) -> str:
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    try:
        for block in blocks:
            decoder.decode(block)
            line += block.count(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        notes.add("files not in UTF-8, read as Windows-1252", f"{path.name}, line {line}")
        return "cp1252"
    return "utf-8-sig"


def decoded(path: Path, encoding: str, newline: str | None = None) -> io.TextIOWrapper:
    """Open a file as text; bytes that the encoding does not have become U+FFFD."""
    return io.TextIOWrapper(open_file(path), encoding=encoding, errors="replace", newline=newline)


def lines_of(file: io.TextIOWrapper, path: Path, first: int = 1) -> Iterator[str]:
    """Yield the lines of a file.

    Raises DataError for a line longer than MAX_LINE_LENGTH: a few kilobytes of gzip can unpack to one line that fills the memory.
    """
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_LENGTH + 1), ""), first):
        if len(line) > MAX_LINE_LENGTH:
            problem = f"{path.name}, line {number} has more than {MAX_LINE_LENGTH:,} characters."
            raise DataError(problem, "Split it; check that it is a text file.")
        yield line
