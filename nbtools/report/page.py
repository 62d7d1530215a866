"""The page about one run: the results, what was run, and a page for each executed notebook."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from nbtools.errors import RunError
from nbtools.report.layout import join_words, render_page, write_page_file
from nbtools.report.notebook_page import render_notebook
from nbtools.report.results import Results
from nbtools.runs.metrics import FINETUNE
from nbtools.storage import resolve_path
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Is, Maybe

SCHEMA = 1
FAILURE = {"reason": Maybe(str, "failed"), "cell": Maybe(int, 0), "lines": Maybe([str], [])}
ENTRY = {
    "state": str, "title": Maybe(str), "parameters": Maybe(dict, {}), "seconds": Maybe(float), "peak_memory_bytes": Maybe(float),
    "failure": Maybe(FAILURE, {"reason": "failed", "cell": 0, "lines": []}),
}  # fmt: skip
METRICS = {
    "schema": Is(SCHEMA), "kind": Is("run"), "created": Maybe(str, "unknown"), "command": Maybe([str], []), "nbtools": Maybe(str),
    "versions": Maybe(dict, {}), "machine": Maybe({"memory_bytes": Maybe(float, 0)}, {"memory_bytes": 0}), "memory_method": Maybe(str, ""),
    "notebooks": {str: ENTRY}, "finetune": Maybe(FINETUNE),
}  # fmt: skip
STATES = {"done": "", "failed": "failed", "waiting": "not run", "running": "interrupted", "stopped": "interrupted"}


def write_run_page(folder: str | Path) -> Path:
    """Write `index.html` into a run's folder, and `notebooks/NAME.html` for each executed notebook; return the index.

    Reads the folder's `metrics.json`. Raises RunError if there is none, or if another version of nbtools wrote it.
    """
    folder = resolve_path(folder)
    run = _read_run(folder)
    files = {name: [folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"] for name in run["notebooks"]}
    copies = {name: file for name, both in files.items() for file in reversed(both) if file.is_file()}
    for name, copy in copies.items():
        title = run["notebooks"][name].get("title", name)
        write_page_file(folder / "notebooks" / f"{name}.html", render_notebook(copy, title, list(copies)))
    entries, finetune = run["notebooks"], run.get("finetune") or {}
    page = render_page(
        "run.html",
        run=run,
        done=sum(entry["state"] == "done" for entry in entries.values()),
        seconds=sum(entry.get("seconds", 0) for entry in entries.values()),
        failures=[(name, entry["failure"]) for name, entry in entries.items() if entry["state"] == "failed"],
        finetune=finetune,
        tuned=Results(finetune),
        copies=copies,
        states=STATES,
        parameters="; ".join(f"{name}: {join_words(entry['parameters'])}" for name, entry in entries.items() if entry["parameters"]),
    )
    return write_page_file(folder / "index.html", page)


def _read_run(folder: Path) -> dict[str, Any]:
    again = "Run the notebooks again with this nbtools."
    run: dict[str, Any] = read_json(folder / "metrics.json", METRICS, again, RunError, absent=None)
    if run is None:
        raise RunError(f"{folder} holds no metrics.json of a run.", "Run the notebooks first: nbtools run --out DIR")
    if paths := [name for name in run["notebooks"] if PurePath(name).name != name or "\\" in name or name in (".", "..")]:
        raise RunError(f"The metrics in {folder} name a notebook {paths[0]!r}, which is a path.", again)
    return run
