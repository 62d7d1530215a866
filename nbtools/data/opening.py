"""Open a file of text: unpack it, refuse what is no text, find its encoding, and read it line by line."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nbtools.data.notes import Notes
from nbtools.errors import DataError, InputError

COMPRESSED: dict[str, Callable[[Path], BinaryIO]] = {".gz": gzip.open, ".xz": lzma.open}  # type: ignore[dict-item]
UNREADABLE = (OSError, EOFError, lzma.LZMAError)
SNIFFED = 65_536  # bytes that are looked at to tell what a file is
LONGEST = 16_000_000  # characters of a line or a field; War and Peace has three million. More is a damaged file, or one made to fill memory
MAGIC = {
    b"%PDF": "a PDF", b"PK\x03\x04": "a ZIP archive (a Word or Excel file is one too)", b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture", b"GIF87a": "a GIF picture", b"GIF89a": "a GIF picture", b"\x7fELF": "a program",
    b"SQLite format 3\0": "a SQLite database", b"\xd0\xcf\x11\xe0": "an old Word or Excel file", b"GGUF": "a GGUF model",
    b"BZh": "a bzip2 archive", b"7z\xbc\xaf": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive", b"PAR1": "a Parquet file",
}  # fmt: skip
MARKS = {  # UTF-32 first: its mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}  # fmt: skip


def open_file(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked."""
    opener = COMPRESSED.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")


def text_encoding(path: Path, named: str | None, notes: Notes) -> str:
    """The encoding of a file: the one that was named, that of its mark, UTF-8 where all of it is, else Windows-1252, which is said.

    Raises InputError for an encoding that does not exist, DataError for a file that cannot be unpacked or is no text.
    """
    try:
        with open_file(path) as file:
            head = file.read(SNIFFED)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}", "Unpack it yourself, or get it again.") from None
    for magic, words in MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path.name} is {words}, not text.", "Export its text first.")
    mark = next((encoding for sign, encoding in MARKS.items() if head.startswith(sign)), None)
    if named is not None:
        encoding = _with_mark(named, mark)
        if "\0" in _decode(head, encoding, named):
            raise DataError(f"{path.name} is binary: read as {named}, it holds zero bytes.", "Give a text file, or name another encoding.")
        return encoding
    if mark and mark != "utf-8-sig":
        return mark
    if b"\0" in head:
        raise DataError(
            f"{path.name} is binary: it holds zero bytes.",
            "Give a text file; UTF-16 without its mark needs encoding='utf-16-le'.",
        )
    return _utf8_or_windows(path, notes)


def _with_mark(named: str, mark: str | None) -> str:
    """The codec for an encoding that was named, which leaves out the mark where the file has one: it is no part of the first word."""
    try:
        name = codecs.lookup(named).name
    except (LookupError, TypeError, ValueError):
        raise _unknown(named) from None
    if name.startswith("utf-8"):
        return "utf-8-sig"
    return mark if mark and name.startswith(mark) else name


def _decode(head: bytes, encoding: str, named: str) -> str:
    try:
        return head.decode(encoding, "replace")
    except (LookupError, ValueError):  # some codecs are not of text: hex, zip
        raise _unknown(named) from None


def _unknown(named: object) -> InputError:
    return InputError(f"There is no encoding {named!r}.", "Common ones: utf-8, utf-16, utf-16-le, cp1252, latin-1, gb18030, shift_jis.")


def _utf8_or_windows(path: Path, notes: Notes) -> str:
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    with open_file(path) as file:
        try:
            while block := file.read(SNIFFED):
                decoder.decode(block)
                line += block.count(b"\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            notes.add("files not in UTF-8, read as Windows-1252", f"{path.name}, line {line}")
            return "cp1252"
        except UNREADABLE as error:
            raise DataError(f"{path.name} cannot be unpacked: {error}", "It seems to be cut off; get it again.") from None
    return "utf-8-sig"


def decoded(path: Path, encoding: str, newline: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_file(path), encoding=encoding, errors="replace", newline=newline)


def lines_of(file: io.TextIOWrapper, path: Path, first: int = 1) -> Iterator[str]:
    """The lines, none of which may be longer than LONGEST: a few kilobytes of gzip can unpack to one line that fills the memory."""
    number = first - 1
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise DataError(f"{path.name}, line {number} has more than {LONGEST:,} characters.", "Break it up; is it what you think it is?")
        yield line
