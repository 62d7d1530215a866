"""What a sweep is asked to do: a file, checked completely before anything starts, and the runs that it comes to.

    notebook: 04_finetuning             # a number, a name or a path
    fixed: {profile: mini, max_steps: 60}
    grid:                               # every combination
      learning_rate: [3e-4, 1e-3]
      max_reviews: [400, 1200]
    list:                               # these, as they stand
      - {learning_rate: 5e-4, batch_size: 8}
    random:                             # that many draws
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

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nbtools.errors import InputError
from nbtools.notebooks import Notebook, choose_notebooks
from nbtools.notebooks.parameters import check_parameters, check_secret
from nbtools.values import Number, Text, check_names, count

MOST_CHARACTERS = 1_000_000  # of a sweep's file
MOST_VALUES = 100_000  # in it, aliases followed
MOST_RUNS = 1_000  # unless the file's own limit says otherwise
METRIC = "after.validation.bits_per_byte"  # of the part that may be chosen by, and comparable between models
OURS = ("output_dir", "resume")  # parameters that a sweep sets itself
SEED = "seed"  # the parameter that `seeds` repeats over
KEYS = ("notebook", "fixed", "grid", "list", "random", "seeds", "metric", "better", "limits", "keep")
SCALES = ("linear", "log")


@dataclass(frozen=True)
class Limits:
    """What a sweep may take.

    timeout_seconds, memory_bytes  of one run; None for no limit
    runs                           the most that the plan may come to
    """

    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    runs: int = MOST_RUNS


@dataclass(frozen=True)
class SweepPlan:
    """A checked sweep.

    rows     the parameters that each run is given, every combination with every seed, without doubles
    varied   the names of parameters that differ between rows, `seed` last
    doubles  how many rows came twice and were left out
    metric   a dotted path into metrics.json
    better   "lower" or "higher"
    keep     whose models stay on the disk: "none", "best" or "all"
    asked    the plan as it was given, for the record
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
    _check_size(asked)
    check_secret("", asked)  # all of it is kept in sweep.json, also what no draw takes
    check_names("A sweep", map(str, asked), KEYS)
    notebook = _read_notebook(asked.get("notebook"), Path() if isinstance(source, Mapping) else Path(source).parent)
    limits = _read_limits(asked.get("limits"))
    checked = [_check_row(notebook, row) for row in _read_rows(asked, limits.runs)]
    unique = list({repr(sorted(row.items())): row for row in checked}.values())
    better = Text(("lower", "higher"))("better", asked.get("better", "lower"))
    keep = Text(("none", "best", "all"))("keep", asked.get("keep", "best"))
    metric = asked.get("metric", METRIC)
    if not isinstance(metric, str) or not metric:
        raise InputError(f"`metric` is {metric!r}.", f"Name a figure of metrics.json by its path, such as {METRIC}.")
    return SweepPlan(notebook, unique, _varied(unique), len(checked) - len(unique), metric, better, limits, keep, asked)


def _read_notebook(given: Any, beside: Path) -> Notebook:
    if not isinstance(given, (str, int)):
        raise InputError("The sweep names no notebook.", "Add a line such as: notebook: 04_finetuning")
    name = str(given)
    if name.endswith(".ipynb") and (beside / name).is_file():
        name = str(beside / name)
    return choose_notebooks([name])[0]


def _read_rows(asked: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """The parameters of each run as they were asked for: grid, list and draws with every seed."""
    fixed, grid, seeds = _mapping(asked.get("fixed"), "fixed"), _mapping(asked.get("grid"), "grid"), _read_seeds(asked.get("seeds"))
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"`grid` gives {name} the value {values!r}.", f"Give a list, such as {name}: [1, 2].")
    listed = asked.get("list")
    if listed is not None and (not isinstance(listed, list) or not listed):
        raise InputError("`list` is no list of runs.", "Write one run a line, such as: - {learning_rate: 1e-3}")
    rows = [_mapping(one, "list") for one in listed or []]
    random = _mapping(asked.get("random"), "random")
    check_names("`random`", map(str, random), ("count", "seed", "draw"))
    draws = count(10**9)("the count of `random`", random.get("count")) if random else 0
    combinations = math.prod(map(len, grid.values())) if grid else 0
    number = (combinations + len(rows) + draws or 1) * max(1, len(seeds))
    if number > most:
        raise InputError(
            f"The sweep comes to {number:,} runs, and at most {most:,} are allowed.", "Ask for fewer, or raise `runs` under `limits`."
        )
    every = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())] if grid else []
    every = [*every, *rows, *(_draw_rows(random, draws) if random else ())] or [{}]
    for row in every:
        if twice := fixed.keys() & row.keys():
            raise InputError(f"{min(twice)} is fixed and varied.", "Name it in one place.")
        if seeds and SEED in {*fixed, *row}:
            raise InputError("`seed` is given as a parameter and under `seeds`.", "Give one of them.")
    repeats: list[dict[str, Any]] = [{SEED: seed} for seed in seeds] or [{}]
    return [{**fixed, **row, **repeat} for row in every for repeat in repeats]


def _read_seeds(given: Any) -> list[int]:
    """The seeds that every combination is repeated with: as many as a number says, or those of a list."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= MOST_RUNS * 10:
        return list(range(given))
    if given is not None and (not isinstance(given, list) or not given or not {type(seed) for seed in given} <= {int}):
        raise InputError(f"`seeds` is {given!r}.", "Give how many (seeds: 3), or which (seeds: [0, 1, 2]).")
    return list(given or [])


def _draw_rows(random: Mapping[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """The rows that are drawn, the same for the same seed."""
    generator = np.random.default_rng(count(2**64, low=0)("the seed of `random`", random.get("seed", 0)))
    ranges = {name: _read_range(name, given) for name, given in _mapping(random.get("draw"), "draw").items()}
    if not ranges:
        raise InputError(
            "`random` does not say what to draw.", "Add for example: draw: {learning_rate: {low: 1e-4, high: 1e-2, scale: log}}"
        )
    for _ in range(number):
        yield {name: draw(generator) for name, draw in ranges.items()}


def _read_range(name: str, given: Any) -> Callable[[np.random.Generator], Any]:
    """What draws a value from a list, or from a range: {low, high, scale}."""
    if isinstance(given, list) and given:
        return lambda generator: given[int(generator.integers(len(given)))]
    example = f"Give {name} a list to choose from, or a range such as {{low: 1e-4, high: 1e-2, scale: log}}."
    if not isinstance(given, dict):
        raise InputError(f"`draw` gives {name} the value {given!r}.", example)
    check_names(f"`draw` for {name}", map(str, given), ("low", "high", "scale"))
    try:
        low, high = (float(given[end]) for end in ("low", "high"))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"`draw` gives {name} no two numbers low and high.", example) from None
    log = Text(SCALES)(f"the scale of {name}", given.get("scale", "linear")) == "log"
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (log and low <= 0):
        raise InputError(f"{name} cannot be drawn from {low:g} to {high:g} on a {'log' if log else 'linear'} scale.", example)
    whole = isinstance(given["low"], int) and isinstance(given["high"], int)

    def draw(generator: np.random.Generator) -> float:
        if whole and not log:
            return int(generator.integers(int(low), int(high) + 1))
        value = math.exp(generator.uniform(math.log(low), math.log(high))) if log else float(generator.uniform(low, high))
        return round(value) if whole else float(f"{value:.4g}")  # four digits: a person types it again

    return draw


def _mapping(given: Any, name: str) -> dict[str, Any]:
    """The names and values under a key; {} where the key is missing."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"`{name}` holds {given!r}.", f"Write names and values there, such as {name}: {{max_steps: 60}}.")
    return dict(given or {})


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
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{path}{where}: this is not YAML ({what}).", "Mend that line.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no sweep.", "Begin it with a line such as: notebook: 04_finetuning")
    return content


def _check_size(asked: Any) -> None:
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
    """The limits, in seconds and bytes."""
    limits = _mapping(given, "limits")
    check_names("`limits`", map(str, limits), ("minutes", "memory_gb", "runs"))
    minutes, memory = limits.get("minutes"), limits.get("memory_gb")
    return Limits(
        timeout_seconds=None if minutes is None else Number(0, above=True)("the limit `minutes`", minutes) * 60,
        memory_bytes=None if memory is None else int(Number(0, above=True)("the limit `memory_gb`", memory) * 1e9),
        runs=count(10**9)("the limit `runs`", limits.get("runs", MOST_RUNS)),
    )


def _check_row(notebook: Notebook, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with every value of its declared type. Raises InputError as `nbtools run` does."""
    for name, value in row.items():
        if not isinstance(name, str):
            raise InputError(f"A parameter is called {name!r}.", "Names of parameters are text.")
        check_secret(name, value)
        if name in OURS:
            raise InputError(f"A sweep sees to {name} itself: each run has a folder of its own.", f"Leave {name} out.")
    return check_parameters([notebook], row)[notebook.name]


def _varied(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    differing = [name for name in names if len({repr(row.get(name)) for row in rows}) > 1]
    return sorted(differing, key=lambda name: name == SEED)
