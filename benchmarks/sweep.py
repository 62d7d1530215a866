"""What a sweep costs: seconds a run over bare papermill, two workers against one, Dask against processes, and how it grows.

    python -m benchmarks.sweep [--rounds N] [--runs 100 1000] [--quick] [--out FILE]

The notebook computes for a second and writes its figure, so that what is measured is everything around it: kernels, processes, files.
Bare papermill is measured both ways in which people loop over it: a command a run, as in a shell, and `execute_notebook` in one process.
Growth is measured once: a sweep of each length, two workers, and its pace at the end against its pace at the beginning.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, ratio, spread

NAME = "sweep"
COUNT = 8  # runs of one measurement
BUSY_SECONDS = 1.0  # that a run computes
OVERHEAD = 1.10  # a run of a sweep, as a multiple of bare papermill by command
GROWTH = 1.10  # seconds a run at the end of the longest sweep, in those at its beginning
WAYS: dict[str, dict[str, Any]] = {
    "papermill, a command a run": {"function": "by_command"},
    "papermill, in one process": {"function": "in_process"},
    "sweep, one worker": {"function": "swept", "workers": 1},
    "sweep, two workers": {"function": "swept", "workers": 2},
    "sweep, two Dask workers": {"function": "swept", "workers": 2, "executor": "dask"},
}
CELLS = {
    "parameters": 'number: int = 0  # tells the runs apart\nprofile: str = "mini"  # unused',
    "busy": f"import time\nend = time.process_time() + {BUSY_SECONDS}\nwhile time.process_time() < end: pass",
    "figures": (
        "import json, os\nfrom pathlib import Path\n"
        'figures = {"after": {"validation": {"bits_per_byte": number / 7}}}\n'
        'Path(os.environ.get("NBTOOLS_RUNS", "."), "metrics.json").write_text(json.dumps(figures))'
    ),
}


def write_notebook(folder: Path, busy: bool) -> Path:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell(source, id=name) for name, source in CELLS.items() if busy or name != "busy"]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "01_busy.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def by_command(count: int) -> Row:
    """Seconds a run of `papermill` as a command, one after the other."""
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, NBTOOLS_RUNS=name):
        notebook, start = write_notebook(Path(name), True), time.monotonic()
        for number in range(count):
            command = [sys.executable, "-m", "papermill", str(notebook), str(Path(name, f"{number}.ipynb")), "-p", "number", str(number)]
            subprocess.run([*command, "--no-progress-bar"], cwd=name, check=True, capture_output=True)
        return {"seconds": (time.monotonic() - start) / count}


def in_process(count: int) -> Row:
    """Seconds a run of `papermill.execute_notebook`, all in this process; its own import is not counted."""
    import papermill

    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, NBTOOLS_RUNS=name):
        notebook, start = write_notebook(Path(name), True), time.monotonic()
        for number in range(count):
            papermill.execute_notebook(notebook, Path(name, f"{number}.ipynb"), {"number": number}, cwd=name, progress_bar=False)
        return {"seconds": (time.monotonic() - start) / count}


def swept(count: int, workers: int, executor: str = "local", busy: bool = True) -> Row:
    """Seconds a run of a sweep, from its plan to its tables; the page is not counted. Also what each tenth of the runs took."""
    import nbtools
    from nbtools.runs import RunStore

    with tempfile.TemporaryDirectory() as name:
        notebook, folder = write_notebook(Path(name), busy), Path(name, "out")
        plan = {"notebook": str(notebook), "grid": {"number": list(range(count))}, "limits": {"runs": max(count, 1)}}
        start = time.monotonic()
        table = nbtools.sweep(plan, folder, workers=workers, executor=executor)
        seconds = time.monotonic() - start
        if set(table["state"]) != {"done"}:
            raise RuntimeError(f"{(table['state'] != 'done').sum()} of {count} runs were not done")
        ends = sorted(RunStore(folder).folder_of(run).joinpath("status.json").stat().st_mtime for run in table["run"])
    tenth = max(2, count // 10)
    paces = [(ends[at + tenth - 1] - ends[at]) / (tenth - 1) for at in range(0, count - tenth + 1, tenth)]
    return {"seconds": seconds / count, "paces": [round(pace, 4) for pace in paces]}


def summarize(raw: dict[str, list[Row]], grown: dict[str, list[Row]]) -> dict[str, Any]:
    ways = {name: spread(column(raw[name], "seconds")) for name in WAYS}
    bare, alone, both = (column(raw[name], "seconds") for name in list(WAYS)[:1] + list(WAYS)[2:4])
    ratios = {
        "overhead": ratio(alone, bare),
        "overhead_in_process": ratio(alone, column(raw["papermill, in one process"], "seconds")),
        "two_workers": ratio(alone, both),
        "dask": ratio(column(raw["sweep, two Dask workers"], "seconds"), both),
    }
    growth = {
        name: {"seconds": row["seconds"], "growth": ratio(row["paces"][-2:], row["paces"][:2]),
               "parent_memory_bytes": row["peak_memory_bytes"]}
        for name, [row] in grown.items()
    }  # fmt: skip
    return {"ways": ways, "ratios": ratios, "growth": growth}


def run(options: argparse.Namespace) -> dict[str, Any]:
    count = 2 if options.quick else COUNT
    calls: dict[str, harness.Planned] = {}
    for name, way in WAYS.items():
        arguments = {"count": count, **{key: value for key, value in way.items() if key != "function"}}
        calls[name] = Call(f"benchmarks.sweep:{way['function']}", arguments)
    raw = harness.rounds(calls, options.rounds)
    lengths = [4] if options.quick else options.runs
    grown = harness.rounds(
        {str(length): Call("benchmarks.sweep:swept", {"count": length, "workers": 2, "busy": False}) for length in lengths}, 1
    )
    summary = summarize(raw, grown)
    longest = summary["growth"][str(max(lengths))]
    goals = [
        goal("a run of a sweep, as a multiple of bare papermill by command", summary["ratios"]["overhead"], OVERHEAD, at_most=True),
        goal(f"pace at the end of {max(lengths)} runs, as a multiple of that at their beginning", longest["growth"], GROWTH, at_most=True),
    ]
    every = raw | {f"{name} runs": rows for name, rows in grown.items()}
    return {"settings": {"runs": count, "busy_seconds": BUSY_SECONDS}, "summary": summary, "goals": goals, "raw": every}


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--runs", type=int, nargs="+", default=[100, 1_000], help="lengths at which growth is measured (default: 100 1000)")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
