"""Record unusual rows while a file is read: counts by kind, with the first few positions."""

from __future__ import annotations

from nbtools.errors import printable


class Notes:
    """For each kind of unusual row its count and first positions, and general remarks, each recorded once."""

    SHOWN = 5

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.positions: dict[str, list[str]] = {}
        self.remarks: list[str] = []

    def add(self, kind: str, position: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.positions.setdefault(kind, [])
        if len(shown) < self.SHOWN:
            shown.append(printable(position))

    def remark(self, words: str) -> None:
        if printable(words) not in self.remarks:
            self.remarks.append(printable(words))

    def lines(self) -> list[str]:
        """Return the remarks, then lines such as "rows without a text: 3 (line 4, line 9, line 12)"."""
        found = list(self.remarks)
        for kind, count in self.counts.items():
            positions = ", ".join([*self.positions[kind], *(["…"] if count > len(self.positions[kind]) else [])])
            found.append(f"{kind}: {count:,} ({positions})")
        return found
