"""A digest of everything that a notebook's result depends on; runs with equal fingerprints need not be repeated."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from nbtools.errors import InputError
from nbtools.health.packages import installed_version
from nbtools.notebooks.catalog import Notebook, choose_notebooks
from nbtools.notebooks.dependencies import PACKAGE, reached_files
from nbtools.notebooks.parameters import all_values

LIBRARIES = ("torch", "transformers", "tokenizers", "datasets")
HOW_TO_PROCEED = frozenset({"resume", "scheduler", "workers"})  # parameters that do not change the result


def fingerprint(notebook: Notebook, parameters: Mapping[str, Any], known: dict[str, str] | None = None) -> str:
    """Compute a digest of a notebook's code cells, its parameters, the files of this package that it uses, and the library versions.

    notebook    its text and stored outputs are ignored
    parameters  values that replace the notebook's own; those in HOW_TO_PROCEED, such as `resume`, are ignored
    known       a cache of digests of the package's files, by code; filled in
    """
    values = all_values(notebook, parameters)
    decisive = sorted((name, value) for name, value in values.items() if name not in HOW_TO_PROCEED)
    code = [*notebook.code, *(source for _, value in decisive for source in _code_of(value))]
    known = {} if known is None else known
    if (key := json.dumps(code)) not in known:
        known[key] = _hash_files(reached_files(code))
    content = [code, decisive, known[key], library_versions()]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode("utf8")).hexdigest()[:24]


def _code_of(value: Any) -> list[str]:
    """The code cells of the notebook that a parameter names (a notebook can run another one); an empty list if it names none."""
    if not isinstance(value, str) or len(value) > 200:
        return []
    try:
        return choose_notebooks([value])[0].code
    except InputError:
        return []


@functools.cache
def hash_package() -> str:
    """SHA-256 of all files of the package, for the record of a run."""
    return _hash_files(sorted(file for file in PACKAGE.rglob("*") if file.is_file() and file.suffix != ".pyc"))


def _hash_files(files: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files of the package."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0{_hash_file(file, file.stat().st_mtime_ns)}".encode())
    return digest.hexdigest()


@functools.cache
def _hash_file(file: Path, modified: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that a result depends on, read without importing them."""
    return {name: installed_version(name) or "not installed" for name in LIBRARIES}


def describe_machine() -> dict[str, Any]:
    """Describe the machine without its name: system, processor, cores, memory in bytes, Python."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's name from /proc/cpuinfo, else from the platform module."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)", info.read_text(encoding="utf8", errors="replace"), re.MULTILINE) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
