"""A pretraining corpus of plain text: read from JSON lines or text files, split by document."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nbtools.errors import DataError, InputError
from nbtools.storage.json_files import parse_json
from nbtools.storage.shapes import JsonError
from nbtools.texts import check_texts, repair


@dataclass(frozen=True)
class Document:
    """One document of a corpus.

    source  its name, in splits and on the model card
    text    its full text
    """

    source: str
    text: str


def read_corpus(path: str | Path) -> list[Document]:
    """The documents of a corpus, in order, without empty and duplicate ones.

    path  a .jsonl or .jsonl.xz file of objects with `text` and, optionally, `source`; a .txt file with one document; or a folder of
          .txt files, one document each

    Raises InputError for any other path, and DataError for an invalid line, with its number.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
        if not files:
            raise InputError(f"The folder {path} holds no .txt file.", "Give a folder of text files, a .txt or a .jsonl file.")
        found = [_text(file) for file in files]
    elif not path.is_file():
        raise InputError(f"There is no file {path}.", "Check the path.")
    elif path.suffix == ".txt":
        found = [_text(path)]
    elif path.name.endswith((".jsonl", ".jsonl.xz")):
        found = list(_lines(path))
    else:
        raise InputError(f"{path.name} is not a corpus.", "Give a .jsonl, .jsonl.xz or .txt file, or a folder of .txt files.")
    once = {document.text: document for document in reversed(found) if document.text.strip()}
    documents = list(reversed(once.values()))
    if not documents:
        raise DataError(f"{path.name} holds no text.", "Give a corpus with at least one document that is not empty.")
    return documents


def _text(path: Path) -> Document:
    try:
        return Document(path.stem, path.read_text(encoding="utf8"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}.", "Convert it first."
        ) from error


def _lines(path: Path) -> Iterator[Document]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line, {"text": object})
            except JsonError as error:
                raise DataError(f"Line {number} of {path.name} is not an object with a text.", 'Write lines like {"text": "…"}.') from error
            if not isinstance(text := row["text"], str):
                raise DataError(f"The text in line {number} of {path.name} is {type(text).__name__}.", "It must be a string.")
            yield Document(str(row.get("source") or f"line {number}"), repair(text))


def is_corpus(path: Path) -> bool:
    """Whether a file begins like a corpus in the format .jsonl or .jsonl.xz."""
    try:
        return path.name.endswith((".jsonl", ".jsonl.xz")) and next(_lines(path), None) is not None
    except (DataError, OSError, ValueError, lzma.LZMAError):
        return False


def _open(path: Path) -> IO[str]:
    return lzma.open(path, "rt", encoding="utf8") if path.suffix == ".xz" else path.open(encoding="utf8")


def split_corpus(documents: Sequence[Document], held_out: Sequence[str]) -> tuple[list[Document], list[Document]]:
    """The training documents, and the held-out documents.

    held_out  the names (`source`) of the documents to hold out

    Raises InputError for a name that no document has, and when no training document would remain.
    """
    held_out = check_texts(held_out, "held_out")
    names = {document.source for document in documents}
    if missing := [name for name in held_out if name not in names]:
        raise InputError(f"No document is called {missing[0]!r}.", f"There are {len(names)}, for example {sorted(names)[0]!r}.")
    train = [document for document in documents if document.source not in held_out]
    if not train:
        raise InputError("All documents are held out.", "Leave some to train on.")
    return train, [document for document in documents if document.source in held_out]
