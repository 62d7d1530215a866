"""What a planned run or sweep will take, before anything is run: time, memory and disk on this machine.

A notebook's recorded time is scaled by this machine's speed. Where it fine-tunes, its training and its scores are estimated from
probe steps with the parameters that it will get, and only its other cells are taken from the record.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import MachineError
from nbtools.notebooks.catalog import Notebook
from nbtools.notebooks.costs import read_costs, scaled
from nbtools.notebooks.fingerprint import fingerprint, library_versions
from nbtools.notebooks.parameters import all_values, read_parameters
from nbtools.profiles import PROFILES, Profile
from nbtools.runs.course import Plan
from nbtools.runs.display import describe_parameters
from nbtools.runs.plan import SweepPlan
from nbtools.runs.store import RunStore, SharedStore, is_due, read_status
from nbtools.runs.sweeps import jobs_of
from nbtools.system import available_memory, measure_matmul
from nbtools.texts import duration, gigabytes

if TYPE_CHECKING:
    from rich.table import Table

    from nbtools.training import Estimate

# Tags of the cells whose time is not taken from the record but estimated: of those that train, and score before and after, what the
# notebook's parameters describe; and of those that take a tuned model, or train a quick one where none is found.
FINETUNE, TUNED_MODEL = "finetune", "tuned-model"
# What the time and memory of a training step depend on.
STEP_NAMES = ("profile", "model", "dataset", "block_size", "batch_size", "gradient_accumulation_steps", "lora")
MOST_PROBES = 8  # each takes about a quarter of a minute
SHOWN = 40  # rows of the table
DONE = "done already, and kept"


@dataclass(frozen=True)
class Cost:
    """What one notebook, or one run of a sweep, will take.

    parameters             those that were given
    seconds, memory_bytes  None where nothing is known
    disk_bytes             the most that a notebook puts on the disk; None for a run of a sweep
    note                   what the figures do not say
    """

    name: str
    parameters: dict[str, Any]
    seconds: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = 0
    note: str = ""


@dataclass(frozen=True)
class Budget:
    """What a run or a sweep will take.

    costs         one per notebook, or per run of a sweep
    free_disk     bytes of disk that are free for it
    problem       why it cannot be run as planned, or None
    workers       runs at a time
    shared_cores  whether the workers share this machine's cores, so that what one gains another loses
    """

    costs: list[Cost]
    free_memory: int
    free_disk: int
    problem: MachineError | None = None
    workers: int = 1
    shared_cores: bool = True

    def table(self) -> Table:
        """For a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Column, Table

        known = [cost.seconds for cost in self.costs if cost.seconds is not None]
        total = duration(sum(known) / (1 if self.shared_cores else self.workers))
        most = max((cost.memory_bytes or 0 for cost in self.costs), default=0) * (self.workers if self.shared_cores else 1)
        disk = sum(cost.disk_bytes or 0 for cost in self.costs) or None
        table = Table(
            Column("", "Total"),
            Column("Time", total if len(known) == len(self.costs) else f"over {total}"),
            Column("Memory", gigabytes(most)),
            Column("Disk", gigabytes(disk)),
            Column("Parameters", f"free: {gigabytes(self.free_memory)} of memory, {gigabytes(self.free_disk)} of disk"),
            box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True,
        )  # fmt: skip
        for cost in self.costs[:SHOWN]:
            words = "\n".join(filter(None, [describe_parameters(cost.parameters), cost.note]))
            figures = duration(cost.seconds), gigabytes(cost.memory_bytes), gigabytes(cost.disk_bytes)
            table.add_row(escape(cost.name), *figures, escape(words))
        if len(self.costs) > SHOWN:
            table.add_row("…", "", "", "", f"and {len(self.costs) - SHOWN} more")
        return table


def preview(plan: Plan) -> Budget:
    """What `plan` will take. Nothing is run and nothing is kept, but for the caches.

    Raises what reading the model and the reviews raises: the run would raise it too.
    """
    done, costs, problem = _done(plan), [], None
    for notebook in plan.notebooks:
        given = plan.parameters[notebook.name]
        try:
            costs.append(Cost(notebook.name, given, 0.0, 0, 0, DONE) if notebook.name in done else _cost(notebook, plan))
        except MachineError as error:
            problem = problem or error
            costs.append(Cost(notebook.name, given, note=error.problem))
    memory, disk = available_memory(), _free_disk(plan.folder)
    most = max(costs, key=lambda cost: cost.memory_bytes or 0)
    needed = sum(cost.disk_bytes or 0 for cost in costs)
    if problem is None and (most.memory_bytes or 0) > memory:
        problem = MachineError(
            f"{most.name} needs {gigabytes(most.memory_bytes)} of memory, and {gigabytes(memory)} are free.",
            "Shut other programs down, or give it a smaller batch_size, block_size or profile.",
        )
    if problem is None and needed > disk:
        problem = MachineError(
            f"The run needs {gigabytes(needed)} of disk, and {gigabytes(disk)} are free.",
            "Free some space, or name another disk with --out.",
        )
    return Budget(costs, memory, disk, problem)


def preview_sweep(plan: SweepPlan, folder: Path, workers: int, shared_cores: bool) -> Budget:
    """What `plan` will take with `workers` at a time. Nothing is run and nothing is written.

    shared_cores  whether the workers share this machine's cores

    The first MOST_PROBES kinds of step are probed here; runs of another kind have no figures.
    """
    jobs, store = jobs_of(plan, folder), RunStore(folder)
    due = {job.id: all_values(plan.notebook, job.parameters) for job in jobs if is_due(read_status(store.folder_of(job.id)), False)}
    if trains(plan.notebook):
        figures = _probe(plan.notebook, due, folder)
    else:
        record = read_costs().get(plan.notebook.name)
        figures = dict.fromkeys(due, (_recorded_seconds(record, plan.notebook), record["peak_memory_bytes"] if record else None))
    costs = []
    for number, job in enumerate(jobs, 1):
        seconds, memory = figures.get(job.id, (0.0, 0))
        costs.append(Cost(str(number), job.parameters, seconds, memory, None, "" if job.id in due else DONE))
    return Budget(costs, available_memory(), _free_disk(folder), None, workers, shared_cores)


def _free_disk(folder: Path) -> int:
    return shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.is_dir())).free


def _done(plan: Plan) -> set[str]:
    """The notebooks that the run would keep: all that were planned and finished are as they were."""
    status = SharedStore(plan.folder).read()
    if not status or status["versions"] != library_versions():
        return set()
    entries = status["notebooks"]
    planned = {notebook.name: fingerprint(notebook, plan.parameters[notebook.name]) for notebook in plan.notebooks}
    if any(entries[name]["fingerprint"] != mark for name, mark in planned.items() if name in entries):
        return set()
    return {name for name in planned if name in entries and entries[name]["state"] == "done" and (plan.folder / f"{name}.ipynb").is_file()}


def _cost(notebook: Notebook, plan: Plan) -> Cost:
    given = plan.parameters[notebook.name]
    values = all_values(notebook, given)
    record = read_costs().get(notebook.name)
    page = notebook.path.stat().st_size  # the executed copy is about as large
    tag = ""
    if trains(notebook):
        tag = FINETUNE
    elif any(notebook.tagged(TUNED_MODEL)) and not _finds_a_model(notebook, values, plan):
        tag = TUNED_MODEL
    found = _estimate(values, plan.folder, tag) if tag else None
    seconds = _recorded_seconds(record, notebook, tag)
    notes = []
    if record is None:
        notes.append("never recorded")
    elif given.get("profile", "mini") != "mini" or given.get("model"):
        notes.append(f"{'its other cells' if found else 'recorded'} with mini")
    if record and seconds is None:
        notes.append("its other cells have changed since they were recorded")
    if found is None:
        return Cost(notebook.name, given, seconds, record["peak_memory_bytes"] if record else None, page, "; ".join(notes))
    # The notebook probes as well, before it trains.
    total: float | None = (seconds or 0.0) + found.seconds + found.probe_seconds
    if found.disturbance:
        notes.append(f"the probe was disturbed ({found.disturbance}); if that goes on, {duration(total)}")
        total = None
    return Cost(notebook.name, given, total, found.memory_bytes, page + found.disk_bytes, "; ".join(notes))


def trains(notebook: Notebook) -> bool:
    """Whether a notebook says, by the tag of its cells, that it holds the fine-tuning on reviews that its parameters describe."""
    return any(notebook.tagged(FINETUNE)) and {"profile", "max_steps"} <= read_parameters(notebook).keys()


def _finds_a_model(notebook: Notebook, values: dict[str, Any], plan: Plan) -> bool:
    """Whether `tuned_model` will find one: named, left by an earlier run in this folder, or made by a notebook before this one."""
    names = (values["profile"], f"{values['profile']}-quick")
    if values.get("model") or any((plan.folder / "tuned" / name / "model" / "config.json").is_file() for name in names):
        return True
    for other in plan.notebooks[: plan.notebooks.index(notebook)]:
        theirs = all_values(other, plan.parameters[other.name])
        if trains(other) and theirs["profile"] == values["profile"] and not theirs.get("model") and not theirs.get("output_dir"):
            return True
    return False


def _estimate(values: dict[str, Any], runs: Path, tag: str) -> Estimate:
    """Of the fine-tuning that `values` describe, scored on two parts of the reviews before and after; or, for the tag TUNED_MODEL, of what
    `tuned_model` trains when it finds nothing."""
    from nbtools.data import load_reviews, pack
    from nbtools.models import load_model
    from nbtools.training import FinetuneConfig, estimate
    from nbtools.training.quick import quick_steps

    lm = load_model(values.get("model") or values["profile"], verbose=False)
    if tag == TUNED_MODEL:
        reviews = load_reviews(values.get("dataset") or "auto", lm.defaults.max_reviews)
        return estimate(lm, pack(reviews.train, lm), output_dir=runs / "tuned" / f"{lm.name}-quick", max_steps=quick_steps(lm))
    reviews = load_reviews(values.get("dataset") or "auto", values.get("max_reviews") or lm.defaults.max_reviews)
    scoring = [*reviews.validation["text"], *reviews.test["text"]] * 2
    folder = values.get("output_dir") or runs / "tuned" / lm.name
    packed = pack(reviews.train, lm, values.get("block_size"))
    return estimate(lm, packed, output_dir=folder, validation=reviews.validation, scoring=scoring, **FinetuneConfig.pick(values))


def _recorded_seconds(record: dict[str, Any] | None, notebook: Notebook, replaced: str = "") -> float | None:
    """The recorded seconds, on this machine, of the cells without the tag `replaced`; "" for all cells."""
    if record is None:
        return None
    import torch

    seconds = record["seconds"]
    if replaced:
        if len(record["cell_seconds"]) != len(notebook.code):
            return None
        seconds -= sum(took for tagged, took in zip(notebook.tagged(replaced), record["cell_seconds"], strict=True) if tagged)
    return scaled(seconds, record["matmul_gflops"], measure_matmul(torch.float32))


def _probe(notebook: Notebook, runs: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, tuple[float | None, int | None]]:
    """Seconds and bytes of each run of a sweep that trains, by its id, scaled from a probe of each kind of step.

    runs  all values of each run's parameters, by its id
    """
    kinds: dict[str, list[str]] = {}
    for run, values in runs.items():
        kinds.setdefault(repr([values.get(name) for name in STEP_NAMES]), []).append(run)
    figures: dict[str, tuple[float | None, int | None]] = dict.fromkeys(runs, (None, None))
    other_seconds = _recorded_seconds(read_costs().get(notebook.name), notebook, FINETUNE) or 0.0
    for members in list(kinds.values())[:MOST_PROBES]:
        largest = max((runs[run] for run in members), key=_reviews)
        found = _estimate(largest, folder, FINETUNE)
        for run in members:
            grows = {"steps": _steps(runs[run]) / _steps(largest), "scoring": _reviews(runs[run]) / _reviews(largest)}
            seconds = sum(took * grows.get(part, 1.0) for part, took in found.parts.items()) + found.probe_seconds + other_seconds
            figures[run] = (None if found.disturbance else seconds, found.memory_bytes)
    return figures


def _profile(values: Mapping[str, Any]) -> Profile:
    return PROFILES.get(values["profile"], PROFILES["gpt2"])


def _reviews(values: Mapping[str, Any]) -> float:
    return float(values.get("max_reviews") or _profile(values).max_reviews)


def _steps(values: Mapping[str, Any]) -> float:
    """Steps, or what they are proportional to among runs that name epochs."""
    if values.get("max_steps") is None and values.get("epochs"):
        return float(values["epochs"]) * _reviews(values)
    return float(values.get("max_steps") or _profile(values).max_steps)
