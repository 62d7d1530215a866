"""What `nbtools.estimate` predicts of a fine-tuning against what the fine-tuning then takes: seconds and peak memory.

    python -m benchmarks.estimate [--rounds N] [--long-rounds N] [--quick] [--out FILE]

Each pair has a process of its own with an empty compiler's cache, as the first training in a notebook has: estimated, then trained and
scored. In the cases "after a busy cell" the process computes matrix products in all threads until the estimate begins. The runs that take
minutes are measured in fewer rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, spread

NAME = "estimate"
WITHIN = 0.25
LONG_ROUNDS = 3
BUSY_SECONDS = 5.0  # of matrix products before the estimate, in the cases "after a busy cell"
FIGURES = ("predicted_seconds", "seconds", "predicted_memory_bytes", "memory_bytes", "probe_seconds")
SHORT = {
    "mini, 60 steps": {"profile": "mini", "max_steps": 60},
    "mini, 60 steps, after a busy cell": {"profile": "mini", "max_steps": 60, "busy": BUSY_SECONDS},
    "mini, 60 steps, batches of 8": {"profile": "mini", "max_steps": 60, "batch_size": 8},
}
LONG = {"mini, 300 steps": {"profile": "mini", "max_steps": 300}, "smollm2, 20 steps": {"profile": "smollm2", "max_steps": 20}}
QUICK = {"mini, 3 steps": {"profile": "mini", "max_steps": 3, "block": 64, "reviews": 40, "compile": False, "busy": 0.1}}


def pair(profile: str, block: int | None = None, reviews: int | None = None, busy: float = 0.0, **settings: Any) -> dict[str, Any]:
    """What was predicted for one fine-tuning with a score of the validation reviews after it, and what both took.

    busy  seconds of matrix products right before the estimate
    """
    import nbtools
    from nbtools.system import peak_memory
    from nbtools.training.memory import PeakMemory

    lm = nbtools.load_model(profile, verbose=False)
    data = nbtools.load_reviews("package", max_reviews=reviews or lm.defaults.max_reviews)
    packed = nbtools.pack(data.train, lm, block)
    with tempfile.TemporaryDirectory() as folder:
        plan = {"output_dir": Path(folder, "tuned"), "validation": data.validation, **settings}
        compute(busy)
        found = nbtools.estimate(lm, packed, scoring=data.validation, **plan)
        anew = _forget_peak()
        with PeakMemory() as peak:
            start = time.perf_counter()
            tuned = nbtools.finetune(
                lm, packed, choices=found.choices, **{name: value for name, value in plan.items() if name != "compile"}
            )
            trained = time.perf_counter() - start
            nbtools.evaluate(tuned.lm, data.validation)
            seconds = time.perf_counter() - start
    return {
        "predicted_seconds": round(found.seconds, 2),
        "seconds": round(seconds, 2),
        "predicted_memory_bytes": found.memory_bytes,
        "memory_bytes": peak_memory() if anew else peak.bytes,
        "probe_seconds": round(found.probe_seconds, 2),
        "parts": {name: round(part, 2) for name, part in found.parts.items()},
        "training_seconds": round(trained, 2),
        "scoring_seconds": round(seconds - trained, 2),
        "disturbance": found.disturbance,
        "compiled": tuned.choices.compile,
    }


def compute(seconds: float) -> None:
    """Multiply matrices in all threads of PyTorch's and NumPy's libraries for this time."""
    import numpy as np
    import torch

    tensor, array = torch.randn(1500, 1500), np.random.default_rng(0).random((1500, 1500), dtype=np.float32)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        tensor @ tensor
        array @ array


def _forget_peak() -> bool:
    """Let the system's record of this process's peak memory begin anew, where Linux can (proc(5), clear_refs)."""
    place = Path("/proc/self/clear_refs")
    if not place.exists():
        return False
    place.write_text("5", encoding="ascii")
    return True


def off(rows: list[Row], predicted: str, actual: str) -> float:
    """The most that a prediction was off, as a share of what came."""
    return max(abs(one / other - 1) for one, other in zip(column(rows, predicted), column(rows, actual), strict=True))


def summarize(raw: dict[str, list[Row]]) -> dict[str, Any]:
    """Medians with spread, and a goal for seconds and for memory of every case: the worst round counts."""
    summary, goals = {}, []
    for name, rows in raw.items():
        missed = {
            "seconds": off(rows, "predicted_seconds", "seconds"),
            "memory": off(rows, "predicted_memory_bytes", "memory_bytes"),
        }
        summary[name] = {one: spread(column(rows, one)) for one in FIGURES} | {"off": missed, "rounds": len(rows)}
        goals += [
            goal(f"{name}: {what}, the most that a prediction was off", share, WITHIN, at_most=True) for what, share in missed.items()
        ]
    return {"summary": summary, "goals": goals}


def run(options: argparse.Namespace) -> dict[str, Any]:
    short, long = (QUICK, {}) if options.quick else (SHORT, LONG)
    raw = harness.rounds({name: Call("benchmarks.estimate:pair", settings) for name, settings in short.items()}, options.rounds)
    calls = {name: Call("benchmarks.estimate:pair", settings) for name, settings in long.items()}
    raw |= harness.rounds(calls, min(options.rounds, options.long_rounds))
    return {"settings": {**short, **long}, **summarize(raw), "raw": raw}


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--long-rounds", type=int, default=LONG_ROUNDS, help=f"rounds of the runs that take minutes ({LONG_ROUNDS})")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
