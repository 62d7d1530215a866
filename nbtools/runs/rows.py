"""The part of a sweep's plan that says which runs there are: grid, list, random draws and seeds, checked and expanded."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nbtools.errors import InputError

MOST_RUNS = 1_000  # unless the file's own limit says otherwise
SCALES = ("linear", "log")


def read_seeds(given: Any) -> list[int]:
    """The seeds that every combination is repeated with: as many as a number says, or those of a list."""
    if given is None:
        return []
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        given = range(given) if given <= MOST_RUNS * 10 else given
    if not isinstance(given, (list, range)) or not given or any(isinstance(one, bool) or not isinstance(one, int) for one in given):
        raise InputError(f"`seeds` is {given!r}.", "Give how many (seeds: 3), or which (seeds: [0, 1, 2]).")
    return list(given)


def read_grid(given: Any) -> dict[str, list[Any]]:
    """The values of each parameter of a grid."""
    grid = as_mapping(given, "grid")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"`grid` gives {name} the value {values!r}.", f"Give a list, such as {name}: [1, 2].")
    return grid


def read_list(given: Any) -> list[dict[str, Any]]:
    """The rows that are given as they stand."""
    if given is None:
        return []
    if not isinstance(given, list) or not given:
        raise InputError("`list` is no list of runs.", "Write one run a line, such as: - {learning_rate: 1e-3}")
    return [as_mapping(one, "list") for one in given]


def read_random(given: Any) -> dict[str, Any]:
    """Count, seed and ranges of the random draws; {} where none are asked for."""
    random = as_mapping(given, "random")
    if not random:
        return {}
    check_known(random, ("count", "seed", "draw"), "`random`")
    count, seed = random.get("count"), random.get("seed", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(f"`random` has the count {count!r}.", "Say how many draws: count: 8")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"`random` has the seed {seed!r}.", "Give a whole number from 0 on.")
    draw = as_mapping(random.get("draw"), "draw")
    if not draw:
        raise InputError(
            "`random` does not say what to draw.", "Add for example: draw: {learning_rate: {low: 1e-4, high: 1e-2, scale: log}}"
        )
    return {"count": count, "seed": seed, "draw": {name: _read_range(name, one) for name, one in draw.items()}}


def _read_range(name: str, given: Any) -> list[Any] | dict[str, Any]:
    """A list to choose from, or {low, high, scale, whole}."""
    if isinstance(given, list) and given:
        return given
    example = f"Give {name} a list to choose from, or a range such as {{low: 1e-4, high: 1e-2, scale: log}}."
    if not isinstance(given, dict):
        raise InputError(f"`draw` gives {name} the value {given!r}.", example)
    check_known(given, ("low", "high", "scale"), f"`draw` for {name}")
    try:
        low, high = (float(given[end]) for end in ("low", "high"))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"`draw` gives {name} no two numbers low and high.", example) from None
    scale = given.get("scale", "linear")
    check_choice(scale, SCALES, f"the scale of {name}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (scale == "log" and low <= 0):
        raise InputError(f"{name} cannot be drawn from {low:g} to {high:g} on a {scale} scale.", example)
    whole = all(isinstance(given[end], int) for end in ("low", "high"))
    return {"low": low, "high": high, "scale": scale, "whole": whole}


def draw_rows(random: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that are drawn, the same for the same seed."""
    if not random:
        return
    draws = np.random.default_rng(random["seed"])
    for _ in range(random["count"]):
        row: dict[str, Any] = {}
        for name, one in random["draw"].items():
            if isinstance(one, list):
                row[name] = one[int(draws.integers(len(one)))]
            elif one["whole"] and one["scale"] == "linear":
                row[name] = int(draws.integers(int(one["low"]), int(one["high"]) + 1))
            else:
                log = one["scale"] == "log"
                low, high = (math.log(one[end]) if log else one[end] for end in ("low", "high"))
                value = float(draws.uniform(low, high))
                value = math.exp(value) if log else value
                row[name] = round(value) if one["whole"] else float(f"{value:.4g}")  # four digits: a person types it again
        yield row


def grid_rows(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid's values."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def grid_size(grid: Mapping[str, Sequence[Any]]) -> int:
    """How many combinations a grid has."""
    return math.prod(len(values) for values in grid.values()) if grid else 0


def as_mapping(given: Any, name: str) -> dict[str, Any]:
    """The names and values under a key; {} where the key is missing."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"`{name}` holds {given!r}.", f"Write names and values there, such as {name}: {{max_steps: 60}}.")
    return dict(given)


def check_known(given: Mapping[Any, Any], known: Sequence[str], whose: str) -> None:
    """Raise InputError for a name that is not known, with the nearest one."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            guess = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(f"{whose} has no {name!r}.", f"{guess}It can have: {', '.join(known)}.")


def check_choice(value: Any, known: Sequence[str], name: str) -> None:
    """Raise InputError for a value that is not one of those known."""
    if value not in known:
        raise InputError(f"{name} is {value!r}.", f"Choose one of: {', '.join(known)}.")
