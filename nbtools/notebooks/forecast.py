"""Estimate the remaining time of a run of several notebooks from the progress on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from nbtools.notebooks.costs import read_costs

LONG_SECONDS = 5.0  # a cell with a longer recorded time computes; a shorter one imports, prepares or draws, at another speed
ENOUGH = 0.2  # the fraction of the long cells' recorded time that must be done before the rest is estimated
TRUST_SECONDS = 10.0  # of recorded time that counts as if this machine were equally fast, so that the first few cells do not dominate


class Forecast:
    """The remaining seconds of planned notebooks, or None if unknown.

    Recorded times come from another machine, and how much slower this one is depends on the work: without bf16 units it can import equally
    fast and train at a quarter of the speed. So long and short cells are scaled separately, each by the ratio of all seconds taken here to
    all recorded seconds, and there is no forecast before enough of the long cells have run here. A cell that takes longer than its
    forecast counts with the seconds that it has taken so far, so that the forecast grows with the clock and does not jump when it ends.
    """

    def __init__(self, names: Iterable[str]) -> None:
        costs, names = read_costs(), list(names)
        self.unrecorded = {name for name in names if name not in costs}
        # For each notebook, the seconds of its kernel's start, then of its cells.
        self.parts = {
            name: [max(0.0, costs[name]["seconds"] - sum(costs[name]["cell_seconds"])), *costs[name]["cell_seconds"]]
            for name in names
            if name in costs
        }
        self.recorded, self.taken = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}  # seconds of finished parts, by whether they are long
        self._name, self._done, self._since = "", 0, 0.0  # the running notebook, its number of finished parts, when the last of them ended

    def finish(self, name: str, seconds: float) -> None:
        """Note that a notebook has ended after `seconds`."""
        if name in self.parts:
            self._advance(name, len(self.parts[name]), seconds)
            del self.parts[name]
        self.unrecorded.discard(name)

    def left(self, name: str, cell: int, total: int, elapsed: float, *, rough: bool = False) -> float | None:
        """Seconds left while code cell `cell` of `total` runs in notebook `name`, `elapsed` seconds after its start.

        rough  give a value even before enough has run here: until then it rests on another machine's times

        Call it often: the times of cells are measured between calls.
        """
        if name not in self.parts:
            return None
        cells = len(self.parts[name]) - 1
        if total not in (cells, cells + 1):  # papermill adds a cell with the injected parameters
            self.parts[name] = [0.0, *[sum(self.parts[name]) / max(total, 1)] * total]  # other cells than those recorded
            cells = total
        self._advance(name, max(cell - (total - cells), min(cell, 1)), elapsed)
        running, *rest = self.parts[name][self._done :] or [0.0]
        rest += [part for other, parts in self.parts.items() if other != name for part in parts]
        if self.unrecorded or not (rough or self._knows_enough([running, *rest])):
            return None
        spent = elapsed - self._since
        expected = running * self._pace(running)
        # Once it is late, the running part is evidence as a finished one is.
        late = (running, spent) if spent > expected else None
        return max(0.0, expected - spent) + sum(part * self._pace(part, late) for part in rest)

    def _advance(self, name: str, done: int, elapsed: float) -> None:
        """Note that the first `done` parts of a notebook had ended `elapsed` seconds after its start."""
        if name != self._name:
            self._name, self._done, self._since = name, 0, 0.0
        ended = self.parts[name][self._done : done]
        if not ended:
            return
        slowdown = (elapsed - self._since) / (sum(ended) or 1.0)
        for part in ended:
            self.recorded[_is_long(part)] += part
            self.taken[_is_long(part)] += part * slowdown
        self._done, self._since = done, elapsed

    def _knows_enough(self, rest: list[float]) -> bool:
        long = sum(filter(_is_long, rest))
        return long <= ENOUGH * sum(rest) or self.recorded[True] >= ENOUGH * (self.recorded[True] + long)

    def _pace(self, part: float, late: tuple[float, float] | None = None) -> float:
        """Seconds here for a recorded second of a part like this one.

        late  recorded seconds of the running part, and the seconds that it has taken so far
        """
        kind = _is_long(part)
        recorded, taken = late if late is not None and _is_long(late[0]) == kind else (0.0, 0.0)
        return (self.taken[kind] + taken + TRUST_SECONDS) / (self.recorded[kind] + recorded + TRUST_SECONDS)


def _is_long(seconds: float) -> bool:
    return seconds > LONG_SECONDS
