"""Plain text to pretrain on: read from JSON lines or text files, split by whole documents."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nbtools.errors import DataError, InputError
from nbtools.runtime.foreign import ForeignError, parse_json
from nbtools.texts import check_texts, repair


@dataclass(frozen=True)
class Document:
    """source: what a split and a card call it; text: all of it."""

    source: str
    text: str


def read_corpus(path: str | Path) -> list[Document]:
    """The documents of a corpus, in its order, without empty ones and without repetitions.

    path  a .jsonl file of objects with `text` and, where they have it, `source` (or .jsonl.xz); a .txt file, which is one document;
          or a folder of .txt files, one document each

    Raises InputError for a path that is none of these, DataError for a line that is no such object, with its number.
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
        raise InputError(f"{path.name} is no corpus that can be read.", "Give a .jsonl, .jsonl.xz or .txt file, or a folder of .txt files.")
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
            except ForeignError as error:
                raise DataError(f"Line {number} of {path.name} is no object with a text.", 'A line looks like {"text": "…"}.') from error
            if not isinstance(text := row["text"], str):
                raise DataError(f"The text in line {number} of {path.name} is {type(text).__name__}.", "It must be a string.")
            yield Document(str(row.get("source") or f"line {number}"), repair(text))


def _open(path: Path) -> IO[str]:
    return lzma.open(path, "rt", encoding="utf8") if path.suffix == ".xz" else path.open(encoding="utf8")


def split_corpus(documents: Sequence[Document], held_out: Sequence[str]) -> tuple[list[Document], list[Document]]:
    """The documents to train on, and those called `held_out`, whole.

    Raises InputError for a name that no document has, and when nothing would be left to train on.
    """
    held_out = check_texts(held_out, "held_out")
    names = {document.source for document in documents}
    if missing := [name for name in held_out if name not in names]:
        raise InputError(f"No document is called {missing[0]!r}.", f"There are {len(names)}, for example {sorted(names)[0]!r}.")
    train = [document for document in documents if document.source not in held_out]
    if not train:
        raise InputError("All documents are held out.", "Leave some to train on.")
    return train, [document for document in documents if document.source in held_out]
