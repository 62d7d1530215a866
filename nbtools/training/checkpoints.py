"""The folders of a fine-tuning: `NAME.unfinished` while it trains, `NAME` once its model is complete.

A checkpoint counts only if it is marked: a file that is written after all others and lists their sizes and SHA-256. That tells one
that a kill cut off, or that a failing disk changed, from a complete one before it is used. The cost: every checkpoint is read again
when it is saved, mostly from memory (1.9 GB per second on a processor with SHA instructions: 0.8 s for GPT-2 small's 1.5 GB).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtools.errors import InputError, RunError
from nbtools.storage import atomic_folder, destination, keep_backup, runs_folder, write_text
from nbtools.storage.atomic import sha256
from nbtools.storage.destinations import FINETUNE
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Whole
from nbtools.system import say
from nbtools.training.choices import TrainingChoices

COMPLETE = "complete"  # the mark
BROKEN = "broken.json"  # why a run stopped whose loss was not finite; resuming it would end the same way

START_AGAIN = "Start again with resume=False; the interrupted run is kept."


@dataclass(frozen=True)
class OpenRun:
    """A run that is to be trained."""

    folder: Path
    """Its folder until it is finished."""
    choices: TrainingChoices
    checkpoint: Path | None = None
    """The checkpoint to resume from; None: the beginning."""


def output_folder(model: str, output_dir: str | Path | None) -> Path:
    """Return the final folder of a run: `output_dir`, or runs/tuned/<model>. Raises the errors of `check_output`."""
    name = Path(model).name
    if name in ("", ".."):  # "." and "..", which would be the folder of all tuned models, or the one above
        name = Path(model).resolve().name or "model"
    return check_output(runs_folder() / "tuned" / name if output_dir is None else output_dir)


def unfinished(output_dir: Path) -> Path:
    """The folder of the run `output_dir` while it trains."""
    return output_dir.with_name(output_dir.name + ".unfinished")


def resumes_automatically() -> bool:
    """Return whether an interrupted run is resumed without resume=True; `nbtools run` sets NBTOOLS_RESUME=1 for this."""
    return os.environ.get("NBTOOLS_RESUME") == "1"


def how_to_resume() -> str:
    """Return the advice for resuming an interrupted run."""
    return "Run the same command again to resume it." if resumes_automatically() else "To resume, repeat the call with resume=True."


def check_output(output_dir: str | Path) -> Path:
    """The resolved folder of a new run. Raises InputError where it, or the unfinished run beside it, must not be written."""
    folder = destination(output_dir, FINETUNE, "output_dir")
    destination(unfinished(folder), FINETUNE, "output_dir")
    return folder


def begin(output_dir: Path, plan: Mapping[str, Any], choices: TrainingChoices) -> OpenRun:
    """Create the folder of a new run. An interrupted run of that name is renamed, never deleted, and can still be resumed."""
    folder = unfinished(output_dir)
    if folder.exists():
        names = (output_dir.with_name(f"{output_dir.name}-{number}") for number in itertools.count(1))
        old = next(name for name in names if not name.exists() and not unfinished(name).exists())
        folder.rename(unfinished(old))
        say(
            f"An interrupted run was found and kept as {unfinished(old).name}. "
            f"To resume it: resume=True, output_dir={str(old)!r}, and otherwise the same values as before."
        )
    with atomic_folder(folder, "finetune") as temporary:
        write_text(temporary / "plan.json", json.dumps({**plan, "choices": choices.to_dict()}, indent=1))
    return OpenRun(folder, choices)


def has_interrupted(output_dir: Path) -> bool:
    """Return whether there is an interrupted run, with any configuration."""
    return (unfinished(output_dir) / "plan.json").is_file()


def can_resume(output_dir: Path, plan: Mapping[str, Any]) -> bool:
    """Return whether `reopen` would succeed."""
    try:
        _check_resumable(output_dir, plan)
    except InputError:
        return False
    return True


def reopen(output_dir: Path, plan: Mapping[str, Any]) -> OpenRun:
    """The interrupted run under `output_dir`, with the choices it was begun with and its newest complete checkpoint.

    Raises InputError when there is no such run, when it was begun with another plan, and when it stopped because its loss was not finite.
    """
    choices, folder = _check_resumable(output_dir, plan), unfinished(output_dir)
    checkpoint = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        say("The interrupted run has no complete checkpoint, so it starts again at step 0.")
    return OpenRun(folder, choices, checkpoint)


def _check_resumable(output_dir: Path, plan: Mapping[str, Any]) -> TrainingChoices:
    """Return the choices of the interrupted run of `output_dir`. Raises InputError if it cannot be resumed with `plan`."""
    folder = unfinished(output_dir)
    if not has_interrupted(output_dir):
        raise InputError(f"There is no interrupted run in {folder}.", "Start one with resume=False.")
    if (folder / BROKEN).is_file():
        problem = read_json(folder / BROKEN, {"problem": str}, START_AGAIN)["problem"]
        raise InputError(
            f"{problem} The same values would lead there again.",
            f"Start again with resume=False and a lower learning_rate; or, if the machine was at fault, delete {folder / BROKEN}.",
        )
    # Plans of earlier versions lack gradient_accumulation_steps.
    begun = {"gradient_accumulation_steps": 1, **read_json(folder / "plan.json", {"choices": dict}, START_AGAIN)}
    if changed := [name for name in plan if plan[name] != begun.get(name)]:
        listed = ", ".join(f"{name} was {begun.get(name)!r}, is {plan[name]!r}" for name in changed)
        raise InputError(
            f"The interrupted run was started with other values: {listed}.", "Give the same values, or start again with resume=False."
        )
    try:
        return TrainingChoices.from_dict(begun["choices"])
    except InputError as error:
        raise InputError(f"{folder / 'plan.json'} cannot be used: {error.problem}", START_AGAIN) from None


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was saved."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def mark_complete(checkpoint: Path) -> None:
    """Write the mark into a checkpoint whose files are all there."""
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    files = {path.relative_to(checkpoint).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths}
    write_text(checkpoint / COMPLETE, json.dumps({"files": files}, indent=1))


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint in `folder` that is as it was saved. Later ones are moved out of the way, with a message.

    One without a mark was cut off while it was written, and is removed: a full disk may be why. One whose files have changed is kept as
    `damaged-checkpoint-N` until the run is finished; Trainer counts `checkpoint-*` only.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    complete, unusable = None, []
    for checkpoint in sorted(found, key=step_of, reverse=True):
        if not (checkpoint / COMPLETE).is_file():
            shutil.rmtree(checkpoint)
            unusable.append(f"{checkpoint.name} was cut off while it was written")
        elif (damage := _damage(checkpoint)) is not None:
            unusable.append(f"{checkpoint.name} is damaged ({damage}; kept as {keep_damaged(checkpoint).name})")
        else:
            complete = checkpoint
            break
    for problem in unusable:
        say(f"{problem}; {f'{complete.name} is used instead' if complete else 'no earlier one is complete'}.")
    return complete


def keep_damaged(checkpoint: Path) -> Path:
    """Rename a checkpoint that must not be resumed from, and return its new path."""
    renamed = checkpoint.with_name(f"damaged-{checkpoint.name}")
    keep_backup(renamed)
    return checkpoint.rename(renamed)


def finish(output_dir: Path) -> None:
    """Give the complete run its final name; an earlier run of that name is renamed, never overwritten.

    Raises RunError where something else took the name while the run trained.
    """
    folder = unfinished(output_dir)
    if output_dir.is_dir() and not any(output_dir.iterdir()):
        output_dir.rmdir()
    elif output_dir.exists() and not FINETUNE.is_made(output_dir):
        raise RunError(f"{output_dir} was made by something else during the training.", f"The finished model is in {folder / 'model'}.")
    if (old := keep_backup(output_dir)) is not None:
        say(f"The earlier run in {output_dir.name} was kept as {old.name}.")
    folder.rename(output_dir)
    # Only now: a kill between the two would leave a run with neither a model in its final folder nor a checkpoint to resume from.
    shutil.rmtree(output_dir / "checkpoints", ignore_errors=True)


def _damage(checkpoint: Path) -> str | None:
    """Return how a marked checkpoint differs from what was saved, or None. Sizes are compared first, because that is fast."""
    try:
        files = read_json(checkpoint / COMPLETE, {"files": {str: {"bytes": Whole(0), "sha256": str}}})["files"]
        saved = [(checkpoint / name, file["bytes"], file["sha256"]) for name, file in files.items()]
    except InputError:
        return f"its list of files, {COMPLETE}, cannot be read"
    for path, size, _ in saved:
        if not path.is_file():
            return f"{path.name} is missing"
        if path.stat().st_size != size:
            return f"{path.name} has {path.stat().st_size:,} bytes, not {size:,}"
    changed = [path.name for path, _, digest in saved if sha256(path) != digest]
    return f"{', '.join(changed)} is not what was saved" if changed else None
