"""What a planned run will take, before anything is run: minutes, memory and disk of each notebook on this machine.

A notebook's recorded time is scaled by this machine's speed. Where it fine-tunes, its training and its scores are estimated from
probe steps with the parameters that it will get, and only its other cells are taken from the record.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import MachineError
from nbtools.notebooks.catalog import Notebook
from nbtools.notebooks.costs import read_costs, scaled
from nbtools.notebooks.fingerprint import fingerprint, library_versions
from nbtools.notebooks.parameters import all_values, read_parameters
from nbtools.runs.course import Plan
from nbtools.runs.store import SharedStore
from nbtools.system import available_memory, measure_matmul

if TYPE_CHECKING:
    from rich.table import Table

    from nbtools.training import Estimate

# Tags of the cells whose time is not taken from the record but estimated: of those that train, and score before and after, what the
# notebook's parameters describe; and of those that take a tuned model, or train a quick one where none is found.
FINETUNE, TUNED_MODEL = "finetune", "tuned-model"


@dataclass(frozen=True)
class Cost:
    """What one notebook will take.

    seconds, memory_bytes  None where nothing is known
    disk_bytes             the most that it puts on the disk
    parameters             those that were given
    note                   what the figures do not say
    """

    name: str
    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int
    parameters: dict[str, Any]
    note: str = ""


@dataclass(frozen=True)
class Budget:
    """What a run will take.

    costs                               one per notebook
    free_memory_bytes, free_disk_bytes  what is free for it
    problem                             why it cannot be run as planned, or None
    """

    costs: list[Cost]
    free_memory_bytes: int
    free_disk_bytes: int
    problem: MachineError | None

    def table(self) -> Table:
        """For a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        known = [cost.seconds for cost in self.costs if cost.seconds is not None]
        table = Table("Notebook", "Minutes", "Memory", "Disk", "Parameters", box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
        for cost in self.costs:
            given = ", ".join(f"{name}={value!r}" for name, value in cost.parameters.items())
            words = "\n".join(filter(None, [given, cost.note]))
            table.add_row(escape(cost.name), minutes(cost.seconds), gigabytes(cost.memory_bytes), gigabytes(cost.disk_bytes), escape(words))
        most = max((cost.memory_bytes or 0 for cost in self.costs), default=0)
        total = minutes(sum(known)) if len(known) == len(self.costs) else f"over {minutes(sum(known))}"
        free = f"free: {gigabytes(self.free_memory_bytes)} of memory, {gigabytes(self.free_disk_bytes)} of disk"
        return with_footers(table, "Total", total, gigabytes(most), gigabytes(sum(cost.disk_bytes for cost in self.costs)), free)


def preview(plan: Plan) -> Budget:
    """What `plan` will take. Nothing is run and nothing is kept, but for the caches.

    Raises what reading the model and the reviews raises: the run would raise it too.
    """
    free = available_memory()
    disk = shutil.disk_usage(next(folder for folder in (plan.folder, *plan.folder.parents) if folder.is_dir())).free
    done = _done(plan)
    costs: list[Cost] = []
    problem: MachineError | None = None
    for notebook in plan.notebooks:
        if notebook.name in done:
            costs.append(Cost(notebook.name, 0.0, 0, 0, plan.parameters[notebook.name], "done already, and kept"))
            continue
        try:
            costs.append(_cost(notebook, plan))
        except MachineError as error:
            problem = problem or error
            costs.append(Cost(notebook.name, None, None, 0, plan.parameters[notebook.name], error.problem))
    return Budget(costs, free, disk, problem or _too_much(costs, free, disk))


def _too_much(costs: Sequence[Cost], memory: int, disk: int) -> MachineError | None:
    most = max(costs, key=lambda cost: cost.memory_bytes or 0)
    if (most.memory_bytes or 0) > memory:
        return MachineError(
            f"{most.name} needs {gigabytes(most.memory_bytes)} of memory, and {gigabytes(memory)} are free.",
            "Shut other programs down, or give it a smaller batch_size, block_size or profile.",
        )
    needed = sum(cost.disk_bytes for cost in costs)
    if needed > disk:
        return MachineError(
            f"The run needs {gigabytes(needed)} of disk, and {gigabytes(disk)} are free.",
            "Free some space, or name another disk with --out.",
        )
    return None


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
    estimated: Estimate | None = None
    replaced = ""
    if trains(notebook):
        estimated, replaced = _estimate_training(values, plan.folder), FINETUNE
    elif any(notebook.tagged(TUNED_MODEL)) and not _finds_a_model(notebook, values, plan):
        estimated, replaced = _estimate_quick(values, plan.folder), TUNED_MODEL
    notes = []
    if record is None:
        notes.append("never recorded")
    elif given.get("profile", "mini") != "mini" or given.get("model"):
        notes.append(f"{'its other cells' if estimated else 'recorded'} with mini")
    seconds, memory = _recorded_seconds(record, notebook, replaced), record["peak_memory_bytes"] if record else None
    if record and seconds is None:
        notes.append("its other cells have changed since they were recorded")
    if estimated is None:
        return Cost(notebook.name, seconds, memory, page, given, "; ".join(notes))
    # The notebook probes as well, before it trains.
    total: float | None = (seconds or 0.0) + estimated.seconds + estimated.probe_seconds
    if estimated.disturbance:
        notes.append(f"the probe was disturbed ({estimated.disturbance}); if that goes on, {minutes(total)} minutes")
        total = None
    return Cost(notebook.name, total, estimated.memory_bytes, page + estimated.disk_bytes, given, "; ".join(notes))


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


def training_estimate(notebook: Notebook, values: dict[str, Any], runs: Path) -> tuple[Estimate, float]:
    """The estimate of the fine-tuning in a notebook that `trains`, with all `values` of its parameters; and the seconds of its other cells,
    0 where they were never recorded."""
    return _estimate_training(values, runs), _recorded_seconds(read_costs().get(notebook.name), notebook, FINETUNE) or 0.0


def _estimate_training(values: dict[str, Any], runs: Path) -> Estimate:
    """Of a notebook like 04: trained on one part of the reviews, scored on the two others before and after."""
    from nbtools.data import load_reviews, pack
    from nbtools.models import load_model
    from nbtools.training import FinetuneConfig, estimate

    lm = load_model(values.get("model") or values["profile"], verbose=False)
    reviews = load_reviews(values.get("dataset") or "auto", values.get("max_reviews") or lm.defaults.max_reviews)
    scoring = [*reviews.validation["text"], *reviews.test["text"]] * 2
    folder = values.get("output_dir") or runs / "tuned" / lm.name
    packed = pack(reviews.train, lm, values.get("block_size"))
    return estimate(lm, packed, output_dir=folder, validation=reviews.validation, scoring=scoring, **FinetuneConfig.pick(values))


def _estimate_quick(values: dict[str, Any], runs: Path) -> Estimate:
    """Of what `tuned_model` trains when it finds nothing."""
    from nbtools.data import load_reviews, pack
    from nbtools.models import load_model
    from nbtools.training import estimate
    from nbtools.training.quick import quick_steps

    lm = load_model(values["profile"], verbose=False)
    reviews = load_reviews(values.get("dataset") or "auto", lm.defaults.max_reviews)
    return estimate(lm, pack(reviews.train, lm), output_dir=runs / "tuned" / f"{lm.name}-quick", max_steps=quick_steps(lm))


def _recorded_seconds(record: dict[str, Any] | None, notebook: Notebook, replaced: str) -> float | None:
    """The recorded seconds, on this machine, of the cells without the tag `replaced`; "" for all cells."""
    if record is None:
        return None
    import torch

    here = measure_matmul(torch.float32)
    if not replaced:
        return scaled(record["seconds"], record["matmul_gflops"], here)
    if len(record["cell_seconds"]) != len(notebook.code):
        return None
    cells = zip(notebook.tagged(replaced), record["cell_seconds"], strict=True)
    kept = sum(seconds for tagged, seconds in cells if not tagged)
    starting = record["seconds"] - sum(record["cell_seconds"])
    return scaled(kept + starting, record["matmul_gflops"], here)


def minutes(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds / 60:.1f}"


def gigabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e9:.2f} GB"


def with_footers(table: Table, *footers: str) -> Table:
    """The table with a last line."""
    for column, footer in zip(table.columns, footers, strict=True):
        column.footer = footer
    return table
