"""What makes two runs of a sweep the same: the digest of everything that decides the result."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.notebooks.catalog import Notebook
from nbtools.notebooks.fingerprint import fingerprint
from nbtools.notebooks.parameters import all_values

MOST_FILES = 10_000  # in a folder that a parameter names; all are read
ID_LENGTH = 12  # hexadecimal digits: among a million runs two share an id with a probability of 0.2 %


def run_id(notebook: Notebook, row: Mapping[str, Any], known: dict[str, str] | None = None) -> str:
    """The id of a run: a digest of the code cells, all parameters, this package's sources and weights, the libraries that decide numbers,
    and the content of every local file or folder that a parameter names (a model, a data set).

    known  digests that were made already, filled in; the same mapping for all runs of a plan
    """
    values = all_values(notebook, row)
    known = {} if known is None else known
    contents = {name: _content(value, notebook.path.parent, known) for name, value in values.items() if isinstance(value, str)}
    seen = [fingerprint(notebook, values, known), sorted((name, digest) for name, digest in contents.items() if digest)]
    return hashlib.sha256(json.dumps(seen).encode("utf8")).hexdigest()[:ID_LENGTH]


def _content(value: str, beside: Path, known: dict[str, str]) -> str:
    """SHA-256 of the file or the folder that `value` names; "" where it names none."""
    if not value or len(value) > 1_000 or "\0" in value or "\n" in value:
        return ""
    path = (beside / Path(value).expanduser()).resolve()
    try:
        if not path.exists() or path == beside.resolve():
            return ""
        if str(path) not in known:
            known[str(path)] = _digest(path)
    except OSError:
        return ""  # a text that no file system accepts as a name, or a folder that may not be read
    return known[str(path)]


def _digest(path: Path) -> str:
    files = [path] if path.is_file() else list(itertools.islice((file for file in path.rglob("*") if file.is_file()), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise InputError(f"A parameter names the folder {path}, which holds more than {MOST_FILES:,} files.", "Name a model or a data set.")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(path.parent).as_posix()}\0".encode("utf8", "surrogateescape"))
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
