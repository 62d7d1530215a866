"""Wall time and peak memory of each notebook, executed as `nbtools run` executes it.

    python -m benchmarks.course [--rounds N] [--quick] [--out FILE]

One run by default: a notebook takes minutes, and what it costs is no contest. Those about fine-tuning train for as long as their
parameters say; 05 makes its own model, as it does for a reader who comes to it first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import column, goal
from nbtools.errors import RunError
from nbtools.notebooks import choose_notebooks
from nbtools.runs import Job, execute

NAME = "course"
BINDER_BYTES = 2 * 2**30  # what Binder gives at most


def run(options: argparse.Namespace) -> dict[str, Any]:
    notebooks = choose_notebooks(["00"] if options.quick else [])
    raw: dict[str, list[dict[str, Any]]] = {notebook.name: [] for notebook in notebooks}
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    paths = {notebook.name: notebook.path for notebook in notebooks}
    for _, name in harness.announced(list(paths), options.rounds):
        others = harness.others_percent()
        with tempfile.TemporaryDirectory(prefix="bench-course-") as folder:
            done = execute(Job(str(paths[name])), Path(folder, f"{name}.ipynb"), runs=Path(folder, "runs"))
        if done.failure is not None:
            raise RunError(f"{name} failed: {done.failure.reason}.", f"Run it to see where: nbtools run {name}")
        figures = {"seconds": round(done.seconds, 1), "peak_memory_bytes": done.peak_memory_bytes, "others_percent": round(others, 1)}
        raw[name].append(figures)
    summary = {name: {one: statistics.median(column(rows, one)) for one in ("seconds", "peak_memory_bytes")} for name, rows in raw.items()}
    most = max(row["peak_memory_bytes"] for row in summary.values())
    return {
        "settings": {},
        "summary": summary,
        "goals": [goal("most memory of a notebook, bytes (Binder gives 2 GiB)", most, BINDER_BYTES, at_most=True)],
        "raw": raw,
    }


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.set_defaults(rounds=1)
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
