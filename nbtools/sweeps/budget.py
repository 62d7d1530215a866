"""What a sweep will take, before anything is run: a few probe steps for each kind of step, scaled to every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.notebooks.budget import training_estimate, trains
from nbtools.notebooks.costs import read_costs, scaled
from nbtools.notebooks.terminal import clock
from nbtools.runtime import available_memory, measure_matmul
from nbtools.sweeps.plan import SweepPlan, full_values
from nbtools.sweeps.runs import is_due, place_of, read_status, runs_of
from nbtools.sweeps.terminal import words_of

if TYPE_CHECKING:
    from rich.table import Table

STEP_NAMES = (
    "profile",
    "model",
    "dataset",
    "block_size",
    "batch_size",
    "gradient_accumulation_steps",
    "lora",
)  # what the time and memory of a step depend on
MOST_PROBES = 8  # each takes about a quarter of a minute
SHOWN = 40  # rows of the table


@dataclass(frozen=True)
class SweepBudget:
    """rows: a run's parameters, seconds and bytes (None where unknown), and whether it is over already; total_seconds: wall time."""

    rows: list[tuple[dict[str, Any], float | None, int | None, bool]]
    total_seconds: float | None
    memory_bytes: int | None
    free_memory_bytes: int

    def table(self) -> Table:
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table("Run", "Parameters", "Time", "Memory", box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
        for number, (parameters, seconds, memory, over) in enumerate(self.rows[:SHOWN], 1):
            took = "over, and kept" if over else "?" if seconds is None else clock(seconds)
            held = "" if over else "?" if memory is None else f"{memory / 1e9:.1f} GB"
            table.add_row(str(number), escape(words_of(parameters)), took, held)
        if len(self.rows) > SHOWN:
            table.add_row("…", f"and {len(self.rows) - SHOWN} more", "", "")
        held = "?" if self.memory_bytes is None else f"{self.memory_bytes / 1e9:.1f} GB"
        total = "?" if self.total_seconds is None else clock(self.total_seconds)
        footers = [str(len(self.rows)), f"free memory: {self.free_memory_bytes / 1e9:.1f} GB", total, held]
        for column, footer in zip(table.columns, footers, strict=True):
            column.footer = footer
        return table


def preview_sweep(plan: SweepPlan, folder: Path, workers: int, shared_cores: bool) -> SweepBudget:
    """What `plan` will take with `workers` at a time. shared_cores: they share this machine's, so that what one gains another loses.

    The first MOST_PROBES kinds of step are probed here; runs of another kind have no figures.
    """
    runs = runs_of(plan)
    overs = [not is_due(read_status(place_of(folder, run.id)), False) for run in runs]
    values = [full_values(plan.notebook, run.parameters) for run in runs]
    if trains(plan.notebook):
        figures = _of_training(plan, values, overs, folder)
    else:
        record = read_costs().get(plan.notebook.name)
        figures = [_of_record(record)] * len(runs)
    rows = [(run.parameters, *figure, over) for run, figure, over in zip(runs, figures, overs, strict=True)]
    due = [(seconds, memory) for _, seconds, memory, over in rows if not over]
    seconds = [one for one, _ in due if one is not None]
    total = None if len(seconds) < len(due) else sum(seconds) / (1 if shared_cores else workers)
    most = max((memory for _, memory in due if memory is not None), default=None)
    return SweepBudget(rows, total, most and most * (workers if shared_cores else 1), available_memory())


def _of_record(record: Mapping[str, Any] | None) -> tuple[float | None, int | None]:
    import torch

    if record is None:
        return None, None
    return scaled(record["seconds"], record["matmul_gflops"], measure_matmul(torch.float32)), record["peak_memory_bytes"]


def _of_training(plan: SweepPlan, values: list[dict[str, Any]], overs: list[bool], folder: Path) -> list[tuple[float | None, int | None]]:
    kinds: dict[str, list[int]] = {}
    for number, one in enumerate(values):
        kinds.setdefault(repr([one.get(name) for name in STEP_NAMES]), []).append(number)
    figures: list[tuple[float | None, int | None]] = [(None, None)] * len(values)
    due = [numbers for numbers in kinds.values() if not all(overs[number] for number in numbers)]
    for numbers in due[:MOST_PROBES]:
        largest = max(numbers, key=lambda number: _reviews(values[number]))
        estimated, other_seconds = training_estimate(plan.notebook, values[largest], folder)
        for number in numbers:
            reviews = _reviews(values[number]) / _reviews(values[largest])
            steps = _steps(values[number]) / _steps(values[largest])
            grows = {"steps": steps, "scoring": reviews}
            seconds = sum(took * grows.get(part, 1.0) for part, took in estimated.parts.items())
            in_all = None if estimated.disturbance else seconds + estimated.probe_seconds + other_seconds
            figures[number] = (in_all, estimated.memory_bytes)
    return figures


def _reviews(values: Mapping[str, Any]) -> float:
    from nbtools.profiles import PROFILES

    return float(values.get("max_reviews") or PROFILES.get(values["profile"], PROFILES["gpt2"]).max_reviews)


def _steps(values: Mapping[str, Any]) -> float:
    """Steps, or what they are proportional to among runs that name epochs."""
    from nbtools.profiles import PROFILES

    if values.get("max_steps") is None and values.get("epochs"):
        return float(values["epochs"]) * _reviews(values)
    return float(values.get("max_steps") or PROFILES.get(values["profile"], PROFILES["gpt2"]).max_steps)
