"""Record unusual rows while a file is read: counts by kind, with the first few positions."""

from __future__ import annotations

from collections import Counter

from nbtools.errors import printable


class Notes:
    """For each kind of unusual row its count and first positions, and general remarks, each recorded once."""

    SHOWN = 5

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.positions: dict[str, list[str]] = {}
        self.remarks: list[str] = []

    def add(self, kind: str, position: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= self.SHOWN:
            self.positions.setdefault(kind, []).append(printable(position))

    def remark(self, words: str) -> None:
        if printable(words) not in self.remarks:
            self.remarks.append(printable(words))

    def lines(self) -> list[str]:
        """Return the remarks, then lines such as "rows without a text: 3 (line 4, line 9, line 12)"."""
        found = list(self.remarks)
        for kind, count in self.counts.items():
            more = ", …" if count > self.SHOWN else ""
            found.append(f"{kind}: {count:,} ({', '.join(self.positions[kind])}{more})")
        return found
