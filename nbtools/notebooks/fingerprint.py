"""What a notebook's result depends on, as one short text: two runs with equal fingerprints need not both be made."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import nbtools
from nbtools.notebooks.catalog import Notebook

LIBRARIES = ("torch", "transformers", "tokenizers", "datasets")
PACKAGE = Path(nbtools.__file__).parent


def fingerprint(notebook: Notebook, parameters: Mapping[str, Any]) -> str:
    """Of a notebook's code cells (its text and stored outputs do not count), the parameters it is given, this package's sources
    and weights, and the versions of the libraries that decide the numbers."""
    content = [notebook.code, sorted(parameters.items()), hash_package(), library_versions()]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode("utf8")).hexdigest()[:24]


@functools.cache
def hash_package() -> str:
    """SHA-256 of the package's sources, scripts and shipped model. What only looks (pages, recorded costs) is left out."""
    digest = hashlib.sha256()
    sources = (path for kind in ("*.py", "*.cpp", "*.js") for path in PACKAGE.rglob(kind))
    files = [*sources, *(PACKAGE / "assets" / "mini").glob("*")]
    for file in sorted(files):
        place = file.relative_to(PACKAGE)
        if place.parts[0] in {"cli.py", "report", "sweeps"} or not file.is_file():
            continue
        digest.update(f"{place.as_posix()}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """The installed versions that a result depends on, read without importing anything."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_machine() -> dict[str, Any]:
    """The machine in a few plain facts, without its name: system, processor, cores, memory in bytes, Python."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's name where Linux tells it, else what the platform module knows."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
