"""metrics.json: what a fine-tuning was, what it cost and what it changed, in one versioned file."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError, RunError
from nbtools.runtime import Kind, destination, device, name_host, peak_memory, resolve_path, write_text
from nbtools.runtime.destinations import FINETUNE
from nbtools.runtime.foreign import read_json, read_object

if TYPE_CHECKING:
    from nbtools.data import Packed, Reviews
    from nbtools.evaluation import Score
    from nbtools.training.finetune import Finetuned

SCHEMA = 1
METRICS = Kind("the metrics of a fine-tuning", lambda file: read_object(file).get("kind") == "finetune", is_file=True)
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "peft", "numpy")


def write_metrics(
    tuned: Finetuned,
    *,
    before: dict[str, Score],
    after: dict[str, Score],
    reviews: Reviews,
    packed: Packed,
    samples: list[dict[str, Any]] | None = None,
) -> Path:
    """Write `metrics.json` into the folder of `tuned` and return its path.

    before, after  scores by part ("validation", "test"), of the model as loaded and as fine-tuned
    samples        rows with prompt, before, after, seed and decoding, as `nbtools.compare.sample_pairs` gives them

    Raises RunError where the folder is no longer there, InputError for a metrics.json of something else.
    """
    if not FINETUNE.is_made(tuned.folder):
        raise RunError(f"{tuned.folder} does not hold the fine-tuning any more.", "Move the folder back, or fine-tune again.")
    target = destination(tuned.folder / "metrics.json", METRICS)
    lm = tuned.lm
    record = {
        "schema": SCHEMA,
        "kind": "finetune",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "profile": lm.profile.name if lm.profile else None,
        "model": lm.name,
        "source": lm.source,
        "parameters": tuned.parameters,
        "choices": tuned.choices,
        "data": {"source": reviews.source, **reviews.counts, "packed": packed.counts},
        "before": {part: score.to_dict() for part, score in before.items()},
        "after": {part: score.to_dict() for part, score in after.items()},
        "curve": tuned.curve,
        "samples": samples or [],
        "steps": tuned.steps,
        "tokens_seen": tuned.tokens_seen,
        "seconds": round(tuned.seconds, 3),
        "peak_memory_bytes": peak_memory(),
        "versions": versions(),
        "machine": machine(),
    }
    return write_text(target, json.dumps(_finite(record), indent=1) + "\n")


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """The metrics of the run in `folder`. Raises InputError when they are absent, broken or of a later schema."""
    path = resolve_path(folder) / "metrics.json"
    record = read_json(path, dict, "Run the notebook that writes it again.")
    if record.get("schema") != SCHEMA:
        raise InputError(f"{path} is not of schema {SCHEMA}.", "Read it with the version of the course that wrote it.")
    return dict(record)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The installed versions of `packages`, by default those that can change a result, and Python's."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    import torch

    where = device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.processor() or platform.machine()
    counts = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    return {"host": name_host(), "system": platform.system(), "device": str(where), "name": name, **counts}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
