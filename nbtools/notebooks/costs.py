"""Time and memory of each notebook, recorded when its outputs were refreshed, for the opening box and for forecasts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from nbtools.errors import InputError
from nbtools.health.ladder import LIBRARIES_BYTES
from nbtools.notebooks.injected import check_injected
from nbtools.profiles import PROFILES
from nbtools.storage import write_text
from nbtools.system import available_memory, decoration, headless, measure_matmul, quiet_libraries, say
from nbtools.values import checked

COSTS_FILE = Path(__file__).parent.parent / "assets" / "costs.json"
SCHEMA = 1
# Imports, tokenizing and drawing are not faster where matrix products are, so the estimate never assumes more than this speedup.
MAX_SPEEDUP = 3.0


def read_costs() -> dict[str, dict[str, Any]]:
    """The records by notebook name; empty if nothing has been measured yet.

    A record holds `seconds`, `peak_memory_bytes`, `cell_seconds` (one per code cell), `matmul_gflops` (fp32, on the machine
    that was measured) and `cores`.
    """
    if not COSTS_FILE.is_file():
        return {}
    content = json.loads(COSTS_FILE.read_text(encoding="utf8"))
    return content["notebooks"] if content.get("schema") == SCHEMA else {}


def record_costs(measured: Mapping[str, Mapping[str, Any]]) -> Path:
    """Store `seconds`, `peak_memory_bytes` and `cell_seconds` of notebooks on this machine; the records of others are kept."""
    import torch

    speed = {"matmul_gflops": round(measure_matmul(torch.float32), 1), "cores": os.cpu_count()}
    costs = read_costs()
    for name, cost in measured.items():
        costs[name] = {
            "seconds": round(cost["seconds"], 1),
            "peak_memory_bytes": cost["peak_memory_bytes"],
            "cell_seconds": [round(seconds, 2) for seconds in cost["cell_seconds"]],
            **speed,
        }
    return write_text(COSTS_FILE, json.dumps({"schema": SCHEMA, "notebooks": dict(sorted(costs.items()))}, indent=1) + "\n")


@checked()
def box(name: str, model: str = "mini", variables: Mapping[str, Any] | None = None) -> None:
    """Check a notebook's parameters and print the time and memory that it needs on this machine.

    name       the notebook, such as "01_attention"
    model      the profile, or the name or folder of another model, from the notebook's parameters
    variables  the notebook's `globals()`; its parameters are checked by `check_injected`, which may raise InputError

    The estimate scales the recorded run with mini by the speed of an fp32 matrix product; for another profile its requirements are added.
    In headless runs, whose outputs are stored, the recorded values are printed, because they do not change from run to run.
    """
    if variables is not None:
        if not isinstance(variables, Mapping):
            raise InputError(f"variables is of type {type(variables).__name__}.", "Give the notebook's globals().")
        check_injected(variables)
    if "transformers" in sys.modules:  # a notebook that calls transformers itself shows no progress bar for a small model either
        quiet_libraries()
    _print_costs(name, model)


@decoration
def _print_costs(name: str, model: str) -> None:
    record = read_costs().get(name)
    if record is None:
        say("Time and memory of this notebook have not been measured yet.")
        return
    if headless():
        say(recorded(record))
        return
    memory = record["peak_memory_bytes"]
    import torch

    here, there = measure_matmul(torch.float32), record["matmul_gflops"]
    about, free = _minutes(scaled(record["seconds"], there, here)), available_memory()
    say(
        f"{about} and {memory / 1e9:.1f} GB of memory on this machine (estimated from a run at {there:.0f} GFLOP/s; "
        f"this machine reaches {here:.0f}); {free / 1e9:.1f} GB free now."
    )
    if free + held_memory() < memory:  # the kernel's current memory is part of the notebook's
        say("That is not enough: shut down other notebooks' kernels and programs first.")
    if model != "mini":
        say(_with_another(model))


def recorded(record: dict[str, Any]) -> str:
    """The line of the box that is stored for readers: the recorded values."""
    memory, cores = record["peak_memory_bytes"] / 1e9, f"{record['cores']} processor cores"
    return f"{_minutes(record['seconds'])} and {memory:.1f} GB of memory (recorded on a machine with {cores})."


def _with_another(model: str) -> str:
    """The line for a model other than mini."""
    from nbtools.training import memory

    profile, free = PROFILES.get(model), memory.free_memory() + memory.held_memory()  # a GPU's, where there is one
    if profile is None:
        return f"That is with mini. What {model} needs, `nbtools.models.inspect_model` says."
    inference, training = LIBRARIES_BYTES + 4 * profile.parameters, int(profile.training_gb * 1e9)  # fp32: 4 bytes per weight
    line = f"That is with mini. {model}: about {inference / 1e9:.1f} GB to sample, {training / 1e9:.1f} GB to fine-tune all weights."
    if free < inference:
        return f"{line} That is not enough: take a smaller profile."
    if free < training:
        instead = "a smaller profile, or adapters where `lora` can be chosen"
        return f"{line} For the latter the {free / 1e9:.1f} GB that this notebook can have are not enough: take {instead}."
    return line


def held_memory() -> int:
    """Bytes of the machine's memory that this process uses now."""
    return int(psutil.Process().memory_info().rss)


def scaled(seconds: float, there: float, here: float) -> float:
    """Convert seconds recorded on another machine to this one; `there` and `here` are the speeds of their matrix products in GFLOP/s."""
    return seconds / min(here / there, MAX_SPEEDUP)


def _minutes(seconds: float) -> str:
    if seconds < 45:
        return "Under a minute"
    minutes = round(seconds / 60) or 1
    return f"About {minutes} minute{'s' if minutes > 1 else ''}"
