"""The figures that a run leaves in `metrics.json`: found, checked, and the one that runs are compared by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.runs.processes import MEMORY_METHOD
from nbtools.storage import write_text
from nbtools.storage.json_files import read_json, read_object
from nbtools.storage.shapes import Maybe

SCHEMA = 1
FINETUNE = {  # what a page draws of a fine-tuning's metrics.json; all of it may be missing
    "before": Maybe({str: dict}, {}), "after": Maybe({str: dict}, {}), "curve": Maybe([{"step": float}], []),
    "samples": Maybe([{"prompt": Maybe(str, ""), "before": Maybe(str, ""), "after": Maybe(str, "")}], []),
    "data": Maybe(dict, {}), "parameters": Maybe(dict, {}), "choices": Maybe(dict, {}),
}  # fmt: skip
FINETUNE_KEYS = ("before", "after", "curve", "samples", "parameters", "choices")
NOTEBOOK_KEYS = ("state", "title", "parameters", "seconds", "peak_memory_bytes", "failure")  # of a notebook, taken from status.json


class BrokenMetricsError(ValueError):
    """A run's metrics.json is missing, cannot be read or does not hold what was asked for. The message is one line."""


def find_metrics(folder: Path) -> Path:
    """The metrics.json of a run: in its folder, or in the one folder of a model that was tuned in it. Raises BrokenMetricsError."""
    if (direct := folder / "metrics.json").is_file():
        return direct
    found = sorted(folder.glob("tuned/*/metrics.json"))
    if len(found) == 1:
        return found[0]
    if found:
        raise BrokenMetricsError(f"The notebook left {len(found)} files metrics.json under tuned/, and one is wanted.")
    raise BrokenMetricsError("The notebook ended without leaving a metrics.json (in NBTOOLS_RUNS, or by nbtools.write_metrics).")


def read_value(path: Path, metric: str) -> float:
    """The finite `metric` in a metrics.json that is complete. Raises BrokenMetricsError."""
    try:
        content = read_json(path, dict)
    except InputError as error:
        raise BrokenMetricsError(error.problem.replace(str(path), path.name, 1)) from None
    if content.get("kind") == "finetune" and (missing := [key for key in FINETUNE_KEYS if key not in content]):
        raise BrokenMetricsError(f"metrics.json lacks {', '.join(missing)}.")
    return value_of(content, metric)


def value_of(content: Mapping[str, Any], metric: str) -> float:
    """The number at a dotted path. Raises BrokenMetricsError where there is none, or it is not finite."""
    value: Any = content
    for part in metric.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise BrokenMetricsError(f"metrics.json has no {metric}.")
        value = value[part]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BrokenMetricsError(f"{metric} in metrics.json is {value!r}, not a finite number.")
    return float(value)


def write_course_metrics(folder: Path, status: Mapping[str, Any]) -> Path:
    """Write the `metrics.json` of a run of several notebooks, from its status: what each took, and what fine-tuning measured and where."""
    tuned = _find_finetune(folder, status["notebooks"].values())
    kept = ("created", "state", "command", "nbtools", "versions", "machine")
    metrics = {
        "schema": SCHEMA,
        "kind": "run",
        **{key: status[key] for key in kept},
        "memory_method": MEMORY_METHOD,
        "notebooks": {name: {key: entry[key] for key in NOTEBOOK_KEYS if key in entry} for name, entry in status["notebooks"].items()},
        "finetune": read_object(tuned / "metrics.json") if tuned else None,
        "finetune_folder": tuned and (tuned.relative_to(folder).as_posix() if tuned.is_relative_to(folder) else str(tuned)),
    }
    return write_text(folder / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")


def _find_finetune(folder: Path, entries: Iterable[Mapping[str, Any]]) -> Path | None:
    """The folder of the fine-tuning that belongs to this run: in the `output_dir` that a notebook was given, else under `tuned/`; first
    that of a profile that was asked for, then the newest."""
    entries = list(entries)
    found: dict[Path, dict[str, Any]] = {file: read_object(file) for file in (folder / "tuned").glob("*/metrics.json")}
    named = set()
    for entry in entries:
        if place := entry["parameters"].get("output_dir"):
            begin, end = entry.get("started", "~"), entry.get("finished", "~")
            for file in [Path(place, "metrics.json"), *Path(place).glob("*/metrics.json")]:
                content = found.get(file) or read_object(file)
                if begin <= str(content.get("created", "")) <= end:  # others may train there as well
                    found[file] = content
                    named.add(file)
    asked = {entry["parameters"].get("profile", "mini") for entry in entries}
    files = [file for file, content in found.items() if content.get("kind") == "finetune"]
    best = max(files, key=lambda file: (file in named, file.parent.name in asked, file.stat().st_mtime), default=None)
    return best and best.parent
