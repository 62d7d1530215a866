"""The figures that a run leaves: found, checked, and the one that is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.runtime.foreign import Maybe, read_json

FINETUNE = {  # what a page draws of a fine-tuning's metrics.json; all of it may be missing
    "before": Maybe({str: dict}, {}), "after": Maybe({str: dict}, {}), "curve": Maybe([{"step": float}], []),
    "samples": Maybe([{"prompt": Maybe(str, ""), "before": Maybe(str, ""), "after": Maybe(str, "")}], []),
    "data": Maybe(dict, {}), "parameters": Maybe(dict, {}), "choices": Maybe(dict, {}),
}  # fmt: skip
FINETUNE_KEYS = ("before", "after", "curve", "samples", "parameters", "choices")


class BrokenMetricsError(ValueError):
    """A run's metrics.json is missing, cannot be read or does not hold what was asked for. The message is one line."""


def find_metrics(folder: Path) -> Path:
    """The run's metrics.json: in its folder, or in the one folder of a model that was tuned in it. Raises BrokenMetricsError."""
    if (direct := folder / "metrics.json").is_file():
        return direct
    found = sorted(folder.glob("tuned/*/metrics.json"))
    if len(found) == 1:
        return found[0]
    if found:
        raise BrokenMetricsError(f"The notebook left {len(found)} files metrics.json under tuned/, and one is wanted.")
    raise BrokenMetricsError("The notebook ended without leaving a metrics.json (in NBTOOLS_RUNS, or by nbtools.write_metrics).")


def read_metrics(path: Path, metric: str) -> dict[str, Any]:
    """The content of a metrics.json, once it is clear that it is whole and holds a finite `metric`. Raises BrokenMetricsError."""
    try:
        content = read_json(path, dict)
    except InputError as error:
        raise BrokenMetricsError(error.problem.replace(str(path), path.name, 1)) from None
    if content.get("kind") == "finetune" and (missing := [key for key in FINETUNE_KEYS if key not in content]):
        raise BrokenMetricsError(f"metrics.json lacks {', '.join(missing)}.")
    value_of(content, metric)
    return content


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
