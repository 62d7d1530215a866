"""How long a run of several notebooks still takes, by what this machine has done of it so far."""

from __future__ import annotations

from collections.abc import Iterable

from nbtools.notebooks.costs import read_costs

LONG_SECONDS = 5.0  # a cell that was recorded with more computes; a shorter one imports, prepares or draws, at a pace of its own
ENOUGH = 0.2  # of the recorded time of long cells: with less of it done here, nothing is known of the rest
TRUST_SECONDS = 10.0  # of the recorded time of short cells, so that the first few do not swing their pace
LATE = 1.25  # a part that has taken so many times what was forecast says that the forecast is wrong


class Forecast:
    """The seconds that planned notebooks still take; None where that is not known.

    Recorded times come from another machine, and how much slower this one is differs from kind to kind: without bf16 units it can import as
    fast and train at a quarter of the speed. So nothing is forecast before enough of the long cells has run here, and nothing while a cell
    runs well past its time.
    """

    def __init__(self, names: Iterable[str]) -> None:
        costs, names = read_costs(), list(names)
        self.unrecorded = {name for name in names if name not in costs}
        # Of each notebook, the seconds of its kernel's start, then of its cells.
        self.parts = {
            name: [max(0.0, costs[name]["seconds"] - sum(costs[name]["cell_seconds"])), *costs[name]["cell_seconds"]]
            for name in names
            if name in costs
        }
        self.recorded, self.taken = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}  # of what is done, by whether it is long
        self._name, self._done, self._since = "", 0, 0.0  # the notebook that runs, its parts that are done, when the last of them ended

    def finish(self, name: str, seconds: float) -> None:
        """Note that a notebook has ended after `seconds`."""
        if name in self.parts:
            self._advance(name, len(self.parts[name]), seconds)
            del self.parts[name]
        self.unrecorded.discard(name)

    def left(self, name: str, cell: int, total: int, elapsed: float) -> float | None:
        """Seconds left while code cell `cell` of `total` runs in notebook `name`, `elapsed` seconds after its start.

        To be called often: what lies between two calls is how a cell's time is learned.
        """
        if name not in self.parts:
            return None
        cells = len(self.parts[name]) - 1
        if total not in (cells, cells + 1):  # papermill's injected parameters are a cell more
            self.parts[name] = [0.0, *[sum(self.parts[name]) / max(total, 1)] * total]  # other cells than those recorded
            cells = total
        self._advance(name, max(cell - (total - cells), min(cell, 1)), elapsed)
        running, *rest = self.parts[name][self._done :] or [0.0]
        rest += [part for other, parts in self.parts.items() if other != name for part in parts]
        if self.unrecorded or not self._knows_enough([running, *rest]):
            return None
        spent, expected = elapsed - self._since, running * self._pace(running)
        if spent > LATE * expected and spent - expected > LONG_SECONDS:
            return None
        return max(0.0, expected - spent) + sum(part * self._pace(part) for part in rest)

    def _advance(self, name: str, done: int, elapsed: float) -> None:
        """Note that the first `done` parts of a notebook had ended `elapsed` seconds after its start."""
        if name != self._name:
            self._name, self._done, self._since = name, 0, 0.0
        ended = self.parts[name][self._done : done]
        if not ended:
            return
        share = (elapsed - self._since) / (sum(ended) or 1.0)
        for part in ended:
            self.recorded[_is_long(part)] += part
            self.taken[_is_long(part)] += part * share
        self._done, self._since = done, elapsed

    def _knows_enough(self, rest: list[float]) -> bool:
        long = sum(part for part in rest if _is_long(part))
        return long <= ENOUGH * sum(rest) or self.recorded[True] >= ENOUGH * (self.recorded[True] + long)

    def _pace(self, part: float) -> float:
        """Seconds here for a recorded second of a part like this one."""
        trust = 0.0 if self.recorded[True] and _is_long(part) else TRUST_SECONDS
        return (self.taken[_is_long(part)] + trust) / (self.recorded[_is_long(part)] + trust)


def _is_long(seconds: float) -> bool:
    return seconds > LONG_SECONDS
