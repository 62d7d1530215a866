"""What a sweep is asked to do: a file, checked whole before anything starts, and the runs that it comes to.

    notebook: 04_finetuning             # a number, a name or a path
    fixed: {profile: mini, max_steps: 60}
    grid:                               # every combination
      learning_rate: [3e-4, 1e-3]
      max_reviews: [400, 1200]
    list:                               # these, as they stand
      - {learning_rate: 5e-4, batch_size: 8}
    random:                             # so many draws
      count: 8
      seed: 1
      draw:
        learning_rate: {low: 1e-4, high: 1e-2, scale: log}
        batch_size: [2, 4, 8]
    seeds: 3                            # each of them with seed 0, 1 and 2; or a list of seeds
    metric: after.validation.bits_per_byte   # which figure in metrics.json, and whether less is better
    better: lower
    limits: {minutes: 10, memory_gb: 2, runs: 100}
    keep: best                          # models on disk: none, best or all

Only `notebook` is needed. Grid, list and random add up; a run that comes twice is made once.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from nbtools.errors import InputError
from nbtools.notebooks import Notebook, choose_notebooks, read_parameters
from nbtools.notebooks.parameters import check_parameters, refuse_secret

MOST_RUNS = 1_000  # unless the file's own limit says otherwise
MOST_CHARACTERS = 1_000_000  # of a sweep's file
MOST_VALUES = 100_000  # in it, aliases followed
METRIC = "after.validation.bits_per_byte"  # of the part that may be chosen by, and comparable between models
OURS = ("output_dir", "resume")  # parameters that a sweep sees to itself
SEED = "seed"  # the parameter that `seeds` repeats over
KEPT = ("none", "best", "all")
SCALES = ("linear", "log")


@dataclass(frozen=True)
class Limits:
    """minutes, memory_gb: of one run, None for none; runs: the most that the file may come to."""

    minutes: float | None = None
    memory_gb: float | None = None
    runs: int = MOST_RUNS


@dataclass(frozen=True)
class SweepPlan:
    """A checked sweep.

    rows    the parameters that each run is given, every combination with every seed, without doubles
    varied  the names of parameters that differ between rows, `seed` last; doubles: how many rows came twice and were left out
    metric  a dotted path into metrics.json; better: "lower" or "higher"
    """

    notebook: Notebook
    rows: list[dict[str, Any]]
    varied: list[str]
    doubles: int
    metric: str = METRIC
    better: str = "lower"
    limits: Limits = field(default_factory=Limits)
    keep: str = "best"
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """1 where less of the metric is better, -1 where more is."""
        return 1 if self.better == "lower" else -1


def read_plan(source: str | Path | Mapping[str, Any]) -> SweepPlan:
    """The plan in a YAML file, or in a mapping of the same form. Raises InputError, in two lines, for whatever is wrong with it."""
    if not isinstance(source, (str, Path, Mapping)):
        raise InputError(f"A sweep cannot be read from {source!r}.", "Give a YAML file, or a mapping of the same form.")
    asked = dict(source) if isinstance(source, Mapping) else _read_file(Path(source))
    _refuse_endless(asked)
    refuse_secret("", asked)  # all of it is kept in sweep.json, also what no draw takes
    known = ("notebook", "fixed", "grid", "list", "random", "seeds", "metric", "better", "limits", "keep")
    _refuse_unknown(asked, known, "A sweep")
    if not isinstance(asked.get("notebook"), (str, int)):
        raise InputError("The sweep names no notebook.", "Add a line such as: notebook: 04_finetuning")
    beside = Path(source).parent if not isinstance(source, Mapping) else Path()
    name = str(asked["notebook"])
    if name.endswith(".ipynb") and (beside / name).is_file():
        name = str(beside / name)
    notebook = choose_notebooks([name])[0]
    limits = _read_limits(asked.get("limits"))
    fixed = _mapping(asked.get("fixed"), "fixed")
    seeds = _read_seeds(asked.get("seeds"))
    grid, listed, random = _read_grid(asked.get("grid")), _read_list(asked.get("list")), _read_random(asked.get("random"))
    count = (_size(grid) + len(listed) + random.get("count", 0) or 1) * max(1, len(seeds))
    if count > limits.runs:
        raise InputError(
            f"The sweep comes to {count:,} runs, and at most {limits.runs:,} are allowed.", "Ask for fewer, or raise `runs` under `limits`."
        )
    combinations = [*(_product(grid) if grid else ()), *listed, *_draws(random)] or [{}]
    rows = []
    repeats: list[int | None] = list(seeds) or [None]
    for one in combinations:
        _refuse_twice(fixed, one)
        rows += [{**fixed, **one, **({SEED: seed} if seed is not None else {})} for seed in repeats]
    if seeds and any(SEED in place for place in (fixed, *combinations)):
        raise InputError("`seed` is given as a parameter and under `seeds`.", "Give one of them.")
    checked = [_checked(notebook, row) for row in rows]
    unique = list({repr(sorted(row.items())): row for row in checked}.values())
    metric, better, keep = asked.get("metric", METRIC), asked.get("better", "lower"), asked.get("keep", "best")
    _choose(better, ("lower", "higher"), "better")
    _choose(keep, KEPT, "keep")
    if not isinstance(metric, str) or not metric:
        raise InputError(f"`metric` is {metric!r}.", f"Name a figure of metrics.json by its path, such as {METRIC}.")
    return SweepPlan(notebook, unique, _varied(unique), len(checked) - len(unique), metric, better, limits, keep, asked)


def _read_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        with path.open(encoding="utf8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", "Name the YAML file of the sweep; `nbtools sweep --help` shows one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "Save it as a UTF-8 text file.") from None
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"{path} has more than {MOST_CHARACTERS:,} characters.", "A sweep's file is a page or so; is it this one?")
    try:
        content = yaml.safe_load(text)
    except (ValueError, RecursionError) as error:  # a date or a number that cannot be, or brackets without end
        raise InputError(f"{path} holds a value that cannot be read: {error}.", "Mend it, or put it in quotation marks.") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{path}{where}: this is not YAML ({what}).", "Mend that line.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no sweep.", "Begin it with a line such as: notebook: 04_finetuning")
    return content


def _refuse_endless(asked: Any) -> None:
    """Raise InputError where a plan is more than MOST_VALUES values, aliases followed: a few lines can mean billions."""
    waiting, count = [asked], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise InputError(
                f"The sweep holds more than {MOST_VALUES:,} values.", "Ask for fewer; aliases (*name) are counted as often as used."
            )
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value


def _read_limits(given: Any) -> Limits:
    values = _mapping(given, "limits")
    _refuse_unknown(values, [one.name for one in fields(Limits)], "`limits`")
    for name, value in values.items():
        if value is None and name != "runs":
            continue
        whole = name == "runs"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
            raise InputError(f"The limit `{name}` is {value!r}.", f"Give a {'whole ' if whole else ''}number above 0.")
    return Limits(**values)


def _read_seeds(given: Any) -> list[int]:
    if given is None:
        return []
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        given = range(given) if given <= MOST_RUNS * 10 else given
    if not isinstance(given, (list, range)) or not given or any(isinstance(one, bool) or not isinstance(one, int) for one in given):
        raise InputError(f"`seeds` is {given!r}.", "Give how many (seeds: 3), or which (seeds: [0, 1, 2]).")
    return list(given)


def _read_grid(given: Any) -> dict[str, list[Any]]:
    grid = _mapping(given, "grid")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"`grid` gives {name} the value {values!r}.", f"Give a list, such as {name}: [1, 2].")
    return grid


def _read_list(given: Any) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list) or not given:
        raise InputError("`list` is no list of runs.", "Write one run a line, such as: - {learning_rate: 1e-3}")
    return [_mapping(one, "list") for one in given]


def _read_random(given: Any) -> dict[str, Any]:
    random = _mapping(given, "random")
    if not random:
        return {}
    _refuse_unknown(random, ("count", "seed", "draw"), "`random`")
    count, seed = random.get("count"), random.get("seed", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(f"`random` has the count {count!r}.", "Say how many draws: count: 8")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"`random` has the seed {seed!r}.", "Give a whole number from 0 on.")
    draw = _mapping(random.get("draw"), "draw")
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
    _refuse_unknown(given, ("low", "high", "scale"), f"`draw` for {name}")
    try:
        low, high = (float(given[end]) for end in ("low", "high"))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"`draw` gives {name} no two numbers low and high.", example) from None
    scale = given.get("scale", "linear")
    _choose(scale, SCALES, f"the scale of {name}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (scale == "log" and low <= 0):
        raise InputError(f"{name} cannot be drawn from {low:g} to {high:g} on a {scale} scale.", example)
    whole = all(isinstance(given[end], int) for end in ("low", "high"))
    return {"low": low, "high": high, "scale": scale, "whole": whole}


def _draws(random: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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


def _checked(notebook: Notebook, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with every value of its declared type. Raises InputError as `nbtools run` does."""
    for name, value in row.items():
        if not isinstance(name, str):
            raise InputError(f"A parameter is called {name!r}.", "Names of parameters are text.")
        refuse_secret(name, value)
        if name in OURS:
            raise InputError(f"A sweep sees to {name} itself: each run has a folder of its own.", f"Leave {name} out.")
    return check_parameters([notebook], row)[notebook.name]


def full_values(notebook: Notebook, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's values and, for what it leaves out, the notebook's own."""
    return {name: parameter.default for name, parameter in read_parameters(notebook).items()} | dict(row)


def _product(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _size(grid: Mapping[str, Sequence[Any]]) -> int:
    return math.prod(len(values) for values in grid.values()) if grid else 0


def _varied(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    differing = [name for name in names if len({repr(row.get(name)) for row in rows}) > 1]
    return sorted(differing, key=lambda name: name == SEED)


def _mapping(given: Any, name: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"`{name}` holds {given!r}.", f"Write names and values there, such as {name}: {{max_steps: 60}}.")
    return dict(given)


def _refuse_unknown(given: Mapping[Any, Any], known: Sequence[str], whose: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            guess = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(f"{whose} has no {name!r}.", f"{guess}It can have: {', '.join(known)}.")


def _refuse_twice(fixed: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    if twice := fixed.keys() & row.keys():
        raise InputError(f"{min(twice)} is fixed and varied.", "Name it in one place.")


def _choose(value: Any, known: Sequence[str], name: str) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}.", f"Choose one of: {', '.join(known)}.")
