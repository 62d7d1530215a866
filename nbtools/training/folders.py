"""The folders of a fine-tuning: `NAME.unfinished` while it trains, `NAME` once its model is complete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.runtime import set_aside, write_text

COMPLETE = "complete"  # written into a checkpoint after all of its other files


def unfinished(output_dir: Path) -> Path:
    return output_dir.with_name(output_dir.name + ".unfinished")


def begin(output_dir: Path, plan: dict[str, Any]) -> Path:
    """An empty folder for a new run. An interrupted run that lies there is renamed, never deleted."""
    folder = unfinished(output_dir)
    if (old := set_aside(folder)) is not None:
        print(f"An interrupted run was found and kept as {old.name}. To go on with such a run instead, pass resume=True.")
    folder.mkdir(parents=True)
    write_text(folder / "plan.json", json.dumps(plan, indent=1))
    return folder


def reopen(output_dir: Path, plan: dict[str, Any]) -> tuple[Path, dict[str, Any], Path | None]:
    """The interrupted run under `output_dir`: its folder, the choices it was begun with, and its newest whole checkpoint.

    Raises InputError when there is none, or when it was begun with another plan.
    """
    folder = unfinished(output_dir)
    if not (folder / "plan.json").is_file():
        raise InputError(f"There is no interrupted run in {folder}.", "Start one with resume=False.")
    begun = json.loads((folder / "plan.json").read_text(encoding="utf8"))
    changed = [name for name in plan if name != "choices" and plan[name] != begun.get(name)]
    if changed:
        said = ", ".join(f"{name} was {begun.get(name)!r}, is {plan[name]!r}" for name in changed)
        raise InputError(f"The interrupted run was begun otherwise: {said}.", "Give the same values, or start anew with resume=False.")
    return folder, begun["choices"], newest_checkpoint(folder / "checkpoints")


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end; later ones, cut off in the middle, are removed with a word."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        if (checkpoint / COMPLETE).is_file():
            return checkpoint
        print(f"{checkpoint.name} was cut off while it was written; the one before it is used.")
        shutil.rmtree(checkpoint)
    return None


def finish(output_dir: Path) -> None:
    """Give the complete run its final name; an earlier run of that name is renamed, never overwritten."""
    folder = unfinished(output_dir)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if (old := set_aside(output_dir)) is not None:
        print(f"The earlier run in {output_dir.name} was kept as {old.name}.")
    folder.rename(output_dir)
