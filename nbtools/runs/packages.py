"""Which packages are installed, as lines that pip could install again, and one digest of them all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import distributions


@dataclass(frozen=True)
class Packages:
    """The installed packages.

    lines   NAME==VERSION, sorted
    sha256  of the lines
    """

    lines: tuple[str, ...]
    sha256: str


def packages_installed() -> Packages:
    """Every distribution that this Python finds, each once."""
    found = {(one.metadata["Name"] or "").lower().replace("_", "-"): one.version for one in distributions()}
    lines = tuple(f"{name}=={version}" for name, version in sorted(found.items()) if name)
    return Packages(lines, hashlib.sha256("".join(f"{line}\n" for line in lines).encode("utf8")).hexdigest())
