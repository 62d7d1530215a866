"""metrics.json: configuration, cost and scores of a fine-tuning, in one versioned file."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nbtools.errors import InputError, RunError
from nbtools.storage import Kind, destination, resolve_path, write_text
from nbtools.storage.destinations import FINETUNE
from nbtools.storage.json_files import read_json, read_object
from nbtools.system import device, name_host, peak_memory
from nbtools.training.finetune import Finetuned

SCHEMA = 1
METRICS = Kind("the metrics of a fine-tuning", lambda file: read_object(file).get("kind") == "finetune", is_file=True)
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "peft", "numpy")


def write_metrics(tuned: Finetuned, samples: list[dict[str, Any]] | None = None) -> Path:
    """Write `metrics.json` into the folder of a fine-tuning and return its path.

    tuned    the result of `finetune`, which was given `reviews` and `before`; scored now if `tuned.evaluate` was not called yet
    samples  rows with prompt, before, after, seed and decoding, as `nbtools.compare.sample_pairs` returns them

    Raises RunError where the folder no longer exists, InputError without scores and where metrics.json is something else.
    """
    if not FINETUNE.is_made(tuned.folder):
        raise RunError(f"{tuned.folder} does not hold the fine-tuning any more.", "Move the folder back, or fine-tune again.")
    target = destination(tuned.folder / "metrics.json", METRICS)
    if tuned.reviews is None or not tuned.before:
        raise InputError("This fine-tuning was not given what it is compared with.", "Pass reviews and before to finetune.")
    after, lm = tuned.after or tuned.evaluate(), tuned.lm
    record = {
        "schema": SCHEMA,
        "kind": "finetune",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "profile": lm.profile.name if lm.profile else None,
        "model": lm.name,
        "source": lm.source,
        "parameters": tuned.parameters,
        "choices": tuned.choices.to_dict(),
        "data": {"source": tuned.reviews.source, **tuned.reviews.counts, "packed": tuned.packed.counts},
        "before": {part: score.to_dict() for part, score in tuned.before.items()},
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
    finite = json.loads(json.dumps(record), parse_constant=lambda name: None)  # JSON has neither NaN nor infinity
    return write_text(target, json.dumps(finite, indent=1) + "\n")


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """Return the metrics of the run in `folder`. Raises InputError if they are missing, damaged or have another schema."""
    path = resolve_path(folder) / "metrics.json"
    record = read_json(path, dict, "Run the notebook that writes it again.")
    if record.get("schema") != SCHEMA:
        raise InputError(f"{path} does not have schema {SCHEMA}.", "Read it with the version of the course that wrote it.")
    return dict(record)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those of `packages` that are installed; by default, packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def machine() -> dict[str, Any]:
    """Return a description of the machine: host, system, device, cores, threads."""
    where = device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.processor() or platform.machine()
    counts = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    return {"host": name_host(), "system": platform.system(), "device": str(where), "name": name, **counts}
