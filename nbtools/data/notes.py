"""What a reader met on the way: counted by kind, with the first few places."""

from __future__ import annotations

from nbtools.errors import printable


class Notes:
    """For each kind of oddity how often it was met, and the first few places. A remark without a place is made once."""

    SHOWN = 5

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}
        self.remarks: list[str] = []

    def add(self, kind: str, place: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.places.setdefault(kind, [])
        if len(shown) < self.SHOWN:
            shown.append(printable(place))

    def remark(self, words: str) -> None:
        if printable(words) not in self.remarks:
            self.remarks.append(printable(words))

    def lines(self) -> list[str]:
        """The remarks, then lines such as "rows without a text: 3 (line 4, line 9, line 12)"."""
        found = list(self.remarks)
        for kind, count in self.counts.items():
            places = ", ".join([*self.places[kind], *(["…"] if count > len(self.places[kind]) else [])])
            found.append(f"{kind}: {count:,} ({places})")
        return found
