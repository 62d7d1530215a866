"""The estimated remaining time of a run, on machines unlike the one that was recorded."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbtools.notebooks import costs, forecast, read_costs
from nbtools.notebooks.forecast import Forecast

Pace = Callable[[str, int, float], float]  # of a notebook's cell and its recorded seconds (cell 0: the kernel's start): seconds here


def watched(names: list[str], pace: Pace, injected: bool = False) -> Iterator[tuple[float, float | None]]:
    """The seconds since the start, and the estimated remaining seconds, during a run of the recorded notebooks."""
    forecast, records, before = Forecast(names), read_costs(), 0.0
    for name in names:
        cells = records[name]["cell_seconds"]
        elapsed = pace(name, 0, records[name]["seconds"] - sum(cells))
        seconds = [pace(name, number, recorded) for number, recorded in enumerate(cells, 1)]
        if injected:
            seconds.insert(1, 0.01)
        for number, took in enumerate(seconds, 1):
            for moment in (0.0, 0.3, 0.6, 0.99):
                yield before + elapsed + moment * took, forecast.left(name, number, len(seconds), elapsed + moment * took)
            elapsed += took
        forecast.finish(name, elapsed)
        before += elapsed
    yield before, 0.0


def said_in_all(names: list[str], pace: Pace, injected: bool = False) -> tuple[list[float], float]:
    """Every estimate of the total time, and the real total time."""
    seen = list(watched(names, pace, injected))
    return [elapsed + left for elapsed, left in seen if left is not None], seen[-1][0]


@pytest.mark.parametrize("slower", [3.0, 4.0, 6.0])
def test_the_time_left_rose_from_20_to_63_minutes(slower: float) -> None:
    """Imports take as long as on the recorded machine, and computation several times as long."""
    said, took = said_in_all(list(read_costs()), lambda name, cell, seconds: seconds * (slower if seconds > 5 else 1.0))
    assert len(said) > 100 and 0.9 * took < min(said) and max(said) < 1.1 * took


def test_without_bf16_units_it_does_not_rise_threefold_either() -> None:
    """Training takes four times as long, and scoring, in fp32 on both machines, does not."""
    trains = {"04_finetuning": (23, 24, 27), "07_your_own": (14, 20), "08_other_tasks": (8, 9, 20), "09_sweeps": (5, 14)}
    said, took = said_in_all(list(read_costs()), lambda name, cell, seconds: seconds * (4 if cell in trains.get(name, ()) else 1))
    assert len(said) > 100 and 0.5 * took < min(said) and max(said) < 1.5 * took


def test_on_any_machine_the_time_left_converges() -> None:
    """Every estimate is within a half of the truth or a minute; in the last quarter within a quarter or a minute."""
    draws = random.Random(0)
    for _ in range(60):
        names = sorted(draws.sample(sorted(read_costs()), draws.randint(1, 10)))
        long, short, noise = draws.uniform(0.3, 6), draws.uniform(0.5, 4), draws.uniform(0, 0.2)

        def pace(name: str, cell: int, seconds: float) -> float:
            return seconds * (long if seconds > 5 else short) * draws.uniform(1 - noise, 1 + noise)  # noqa: B023

        seen = list(watched(names, pace, injected=draws.random() < 0.5))
        took = seen[-1][0]
        for elapsed, left in seen:
            if left is not None:
                wrong = abs(elapsed + left - took)
                assert wrong < max(0.5 * took, 60), (names, long, short, elapsed, left, took)
                assert elapsed < 0.75 * took or wrong < max(0.25 * took, 60), (names, long, short, elapsed, left, took)


def test_on_the_recorded_machine_every_estimate_is_right() -> None:
    said, took = said_in_all(list(read_costs()), lambda name, cell, seconds: seconds)
    assert said == pytest.approx([took] * len(said))


def test_a_notebook_without_long_cells_is_forecast_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records = {"short": {"seconds": 9.0, "cell_seconds": [1.0, 4.9, 0.5, 2.0]}}
    for module in (forecast, sys.modules[__name__]):
        monkeypatch.setattr(module, "read_costs", lambda: records)
    alone, took = said_in_all(["short"], lambda name, cell, seconds: seconds)
    assert len(alone) == 4 * 4 + 1 and alone == pytest.approx([took] * len(alone))


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"seconds": 120.0, "cell_seconds": [20.0, 80.0, 20.0]}
    (tmp_path / "costs.json").write_text(json.dumps({"schema": 1, "notebooks": {"01_a": record, "02_b": record}}))
    monkeypatch.setattr(costs, "COSTS_FILE", tmp_path / "costs.json")


def test_there_is_no_estimate_before_enough_has_run_and_a_late_cell_counts_as_it_goes(recorded: None) -> None:
    forecast = Forecast(["01_a", "02_b"])
    assert forecast.left("01_a", 0, 3, 0.3) is None and forecast.left("01_a", 1, 3, 0.5) is None
    assert forecast.left("01_a", 2, 3, 40.5) is None  # a cell of 20 s says little about 220
    rough = forecast.left("01_a", 2, 3, 40.5, rough=True)
    assert rough is not None and 100 < rough < 1000
    pace = (200 + 10) / (100 + 10)  # 100 recorded seconds took 200 here, and ten count as if this machine were equally fast
    assert forecast.left("01_a", 3, 3, 200.5) == pytest.approx(140 * pace)
    assert forecast.left("01_a", 3, 3, 200.5 + 20 * pace) == pytest.approx(120 * pace)
    late = forecast.left("01_a", 3, 3, 260.5)
    assert late == pytest.approx(120 * (260 + 10) / (120 + 10))
    forecast.finish("01_a", 260.5)
    assert forecast.left("02_b", 1, 3, 0.0) == pytest.approx(late)


def test_an_unrecorded_notebook_makes_the_rest_unknown(recorded: None) -> None:
    forecast = Forecast(["01_a", "03_mine"])
    assert forecast.left("01_a", 3, 3, 100.0) is None
    forecast.finish("01_a", 120.0)
    assert forecast.left("03_mine", 2, 3, 5.0) is None and Forecast(["03_mine"]).left("03_mine", 0, 0, 1.0) is None


def test_cells_that_were_added_since_are_counted_by_their_number(recorded: None) -> None:
    forecast = Forecast(["01_a"])
    assert forecast.left("01_a", 1, 6, 0.0) is None
    assert forecast.left("01_a", 4, 6, 60.0) == pytest.approx(60)
