"""The three parts of a set of texts: train, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("train", "validation", "test")


@dataclass
class Parts:
    """Texts in three parts that have no text in common."""

    train: Dataset
    """About 80 % of the texts."""
    validation: Dataset
    """About 10 % of the texts."""
    test: Dataset
    """About 10 % of the texts."""
    counts: dict[str, int]
    """Rows read and kept, and those dropped, by reason."""
    source: str
    """Where the texts came from, in words."""

    def part(self, name: str) -> Dataset:
        """Return the part called "train", "validation" or "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def split_by_hash(rows: Mapping[int, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Split rows by the last digit of the hash that is their key; each part is sorted by hash and gets it as the column `key`."""
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
    for key in sorted(rows):
        parts[{0: "test", 1: "validation"}.get(key % 10, "train")].append(rows[key] | {"key": f"{key:016x}"})
    return parts
