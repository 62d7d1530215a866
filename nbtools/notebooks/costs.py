"""What each notebook takes, recorded when its outputs were refreshed: for the opening box and for the time left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from nbtools.health.ladder import LIBRARIES_BYTES
from nbtools.profiles import PROFILES
from nbtools.runtime import available_memory, headless, measure_matmul, write_text
from nbtools.runtime.arguments import checked

if TYPE_CHECKING:
    from nbtools.notebooks.execution import Execution

COSTS_FILE = Path(__file__).parent.parent / "assets" / "costs.json"
SCHEMA = 1
# A notebook is not all matrix products: imports, tokenizing and drawing gain nothing from a fast unit. Held to this factor,
# the estimate stays on the safe side on a GPU.
MOST_SPEEDUP = 3.0


def read_costs() -> dict[str, dict[str, Any]]:
    """The records by notebook name; empty where nothing has been measured yet.

    A record holds `seconds`, `peak_memory_bytes`, `cell_seconds` (one a code cell), `matmul_gflops` (fp32, on the machine
    that was measured) and `cores`.
    """
    if not COSTS_FILE.is_file():
        return {}
    content = json.loads(COSTS_FILE.read_text(encoding="utf8"))
    return content["notebooks"] if content.get("schema") == SCHEMA else {}


def record_costs(executions: Iterable[Execution]) -> Path:
    """Store what the executions took on this machine, beside the records of other notebooks."""
    import torch

    costs = read_costs()
    speed = measure_matmul(torch.float32)
    for execution in executions:
        costs[execution.notebook.name] = {
            "seconds": round(execution.seconds, 1),
            "peak_memory_bytes": execution.peak_memory,
            "cell_seconds": [round(seconds, 2) for seconds in execution.cell_seconds],
            "matmul_gflops": round(speed, 1),
            "cores": os.cpu_count(),
        }
    return write_text(COSTS_FILE, json.dumps({"schema": SCHEMA, "notebooks": dict(sorted(costs.items()))}, indent=1) + "\n")


@checked()
def box(name: str, model: str = "mini") -> None:
    """Print the last lines of a notebook's opening box: the minutes and the memory that it takes on this machine.

    name   the notebook, such as "01_attention"
    model  the profile, or the name or folder of another model, that the notebook's parameters say

    Estimated from the recorded run, which was with mini, by comparing the speed of an fp32 matrix product here and there; for another
    profile its needs are added. Where outputs are being stored for later readers, the recorded values themselves, which do not change
    from run to run.
    """
    record = read_costs().get(name)
    if record is None:
        print("Time and memory of this notebook have not been measured yet.")
        return
    if headless():
        print(recorded(record))
        return
    memory = record["peak_memory_bytes"]
    import torch

    here, there = measure_matmul(torch.float32), record["matmul_gflops"]
    about, free = _minutes(scaled(record["seconds"], there, here)), available_memory()
    print(
        f"{about} and {memory / 1e9:.1f} GB of memory on this machine (estimated from a run at {there:.0f} GFLOP/s; "
        f"this machine reaches {here:.0f}); {free / 1e9:.1f} GB free now."
    )
    if free + held_memory() < memory:  # what the kernel holds already is part of what it takes
        print("That is not enough: shut down other notebooks' kernels and programs first.")
    if model != "mini":
        print(_with_another(model))


def recorded(record: dict[str, Any]) -> str:
    """The box's line for later readers: what `record` says, wherever it is read."""
    memory, cores = record["peak_memory_bytes"] / 1e9, f"{record['cores']} processor cores"
    return f"{_minutes(record['seconds'])} and {memory:.1f} GB of memory (recorded on a machine with {cores})."


def _with_another(model: str) -> str:
    """The line for a run that is not with mini."""
    from nbtools.training import memory

    profile, free = PROFILES.get(model), memory.free_memory() + memory.held_memory()  # a GPU's, where there is one
    if profile is None:
        return f"That is with mini. What {model} needs, `nbtools.models.inspect_model` says."
    reading, training = LIBRARIES_BYTES + 4 * profile.parameters, int(profile.training_gb * 1e9)  # fp32: 4 bytes a weight
    line = f"That is with mini. {model}: about {reading / 1e9:.1f} GB to read and sample, {training / 1e9:.1f} GB to fine-tune all weights."
    if free < reading:
        return f"{line} That is not enough: take a smaller profile."
    if free < training:
        instead = "a smaller profile, or adapters where `lora` can be chosen"
        return f"{line} For the latter the {free / 1e9:.1f} GB that this notebook can have are not enough: take {instead}."
    return line


def held_memory() -> int:
    """Bytes of the machine's memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def scaled(seconds: float, there: float, here: float) -> float:
    """Recorded `seconds` as they will be on this machine. there, here: speed of an fp32 matrix product in GFLOP/s."""
    return seconds / min(here / there, MOST_SPEEDUP)


def _minutes(seconds: float) -> str:
    if seconds < 45:
        return "Under a minute"
    minutes = round(seconds / 60) or 1
    return f"About {minutes} minute{'s' if minutes > 1 else ''}"


class Forecast:
    """How long a run of several notebooks still takes, in seconds.

    Starts from the recorded times and corrects them by the pace seen so far; a notebook without a record counts as the
    average of the others.
    """

    def __init__(self, names: Iterable[str]) -> None:
        costs = read_costs()
        known = {name: costs[name]["seconds"] for name in costs}
        average = sum(known.values()) / len(known) if known else 0.0
        self.expected = {name: known.get(name, average) for name in names}
        self.cells = {name: costs[name]["cell_seconds"] if name in costs else [] for name in self.expected}
        self.spent: dict[str, float] = {}

    def finish(self, name: str, seconds: float) -> None:
        self.spent[name] = seconds

    def left(self, name: str, cell: int, total: int, elapsed: float) -> float | None:
        """Seconds left while code cell `cell` of `total` runs in notebook `name`, `elapsed` seconds after its start.

        None where nothing was ever measured and too little has run to tell.
        """
        share = self._share_done(name, cell, total)
        expected_now = self.expected[name] * share
        seen, planned = sum(self.spent.values()) + elapsed, sum(self.expected[done] for done in self.spent) + expected_now
        if not any(self.expected.values()):
            return elapsed / share - elapsed if share > 0 and len(self.spent) == len(self.expected) - 1 else None
        # A quarter of a minute of trust in the record keeps the first cells from swinging the forecast.
        pace = (seen + 15) / (planned + 15)
        later = sum(seconds for other, seconds in self.expected.items() if other not in self.spent and other != name)
        return (self.expected[name] * (1 - share) + later) * pace

    def _share_done(self, name: str, cell: int, total: int) -> float:
        """The part of a notebook's time that the cells before `cell` take: by their recorded times, else by their number."""
        recorded = self.cells[name]
        finished = max(cell - 1, 0)
        if len(recorded) in (total, total - 1) and sum(recorded):  # papermill's injected parameters are a cell more
            finished = max(finished - (total - len(recorded)), 0)
            return min(sum(recorded[:finished]) / sum(recorded), 1.0)
        return finished / total if total else 0.0
