"""What a sweep will take, before anything is run: a few probe steps for each kind of step, scaled to every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.notebooks.costs import read_costs, scaled
from nbtools.notebooks.parameters import all_values
from nbtools.runs.budget import gigabytes, training_estimate, trains, with_footers
from nbtools.runs.display import clock, describe_parameters
from nbtools.runs.plan import SweepPlan
from nbtools.runs.store import RunStore, is_due, read_status
from nbtools.runs.sweeps import jobs_of
from nbtools.system import available_memory, measure_matmul

if TYPE_CHECKING:
    from rich.table import Table

# what the time and memory of a step depend on
STEP_NAMES = ("profile", "model", "dataset", "block_size", "batch_size", "gradient_accumulation_steps", "lora")
MOST_PROBES = 8  # each takes about a quarter of a minute
SHOWN = 40  # rows of the table


@dataclass(frozen=True)
class SweepBudget:
    """What a sweep will take.

    rows               per run: its parameters, seconds and bytes (None where unknown), and whether it is over already
    total_seconds      wall-clock time of all runs that are due; None where one is unknown
    memory_bytes       the most that is held at a time; None where nothing is known
    free_memory_bytes  what is free on this machine
    """

    rows: list[tuple[dict[str, Any], float | None, int | None, bool]]
    total_seconds: float | None
    memory_bytes: int | None
    free_memory_bytes: int

    def table(self) -> Table:
        """For a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table("Run", "Parameters", "Time", "Memory", box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
        for number, (parameters, seconds, memory, over) in enumerate(self.rows[:SHOWN], 1):
            took = "over, and kept" if over else "?" if seconds is None else clock(seconds)
            table.add_row(str(number), escape(describe_parameters(parameters)), took, "" if over else gigabytes(memory))
        if len(self.rows) > SHOWN:
            table.add_row("…", f"and {len(self.rows) - SHOWN} more", "", "")
        total = "?" if self.total_seconds is None else clock(self.total_seconds)
        free = f"free memory: {gigabytes(self.free_memory_bytes)}"
        return with_footers(table, str(len(self.rows)), free, total, gigabytes(self.memory_bytes))


def preview_sweep(plan: SweepPlan, folder: Path, workers: int, shared_cores: bool) -> SweepBudget:
    """What `plan` will take with `workers` at a time. Nothing is run and nothing is written.

    shared_cores  whether the workers share this machine's cores, so that what one gains another loses

    The first MOST_PROBES kinds of step are probed here; runs of another kind have no figures.
    """
    store = RunStore(folder)
    jobs = jobs_of(plan, folder)
    overs = [not is_due(read_status(store.folder_of(job.id)), False) for job in jobs]
    values = [all_values(plan.notebook, job.parameters) for job in jobs]
    if trains(plan.notebook):
        figures = _of_training(plan, values, overs, folder)
    else:
        figures = [_of_record(read_costs().get(plan.notebook.name))] * len(jobs)
    rows = [(job.parameters, *figure, over) for job, figure, over in zip(jobs, figures, overs, strict=True)]
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
