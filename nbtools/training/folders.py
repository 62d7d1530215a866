"""The folders of a fine-tuning: `NAME.unfinished` while it trains, `NAME` once its model is complete.

A checkpoint counts only with its mark, a file that is written after all others and holds the size and SHA-256 of each of
them. So one that a kill cut off, and one that a failing disk changed, are told apart from a whole one before they are used.
What that costs: every checkpoint is read once more when it is saved, from memory mostly (1.9 GB a second on a processor with
SHA instructions: 0.8 s for GPT-2 small's 1.5 GB).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from nbtools.errors import InputError, RunError
from nbtools.runtime import destination, put_in_place, say, set_aside, write_text
from nbtools.runtime.destinations import FINETUNE
from nbtools.runtime.files import sha256
from nbtools.runtime.foreign import Whole, read_json

COMPLETE = "complete"  # the mark
BROKEN = "broken.json"  # why a run stopped whose loss was no number any more; resuming it would lead there again

ANEW = "Start anew with resume=False; the interrupted run is kept."
BEGUN = {"choices": {"dtype": str}}  # of plan.json, beside the plan itself


def unfinished(output_dir: Path) -> Path:
    return output_dir.with_name(output_dir.name + ".unfinished")


def resumes_by_itself() -> bool:
    """Whether a training continues its own interrupted run without being told to: `nbtools run` sets NBTOOLS_RESUME=1 for that."""
    return os.environ.get("NBTOOLS_RESUME") == "1"


def how_to_resume() -> str:
    """What a person does to continue an interrupted run."""
    return "Run the same command again: it goes on from there." if resumes_by_itself() else "Go on with the same call and resume=True."


def check_output(output_dir: str | Path) -> Path:
    """The resolved folder of a run to come. Raises InputError where it, or the unfinished run beside it, must not be written."""
    folder = destination(output_dir, FINETUNE, "output_dir")
    destination(unfinished(folder), FINETUNE, "output_dir")
    return folder


def begin(output_dir: Path, plan: dict[str, Any]) -> Path:
    """An empty folder for a new run. An interrupted run that lies there is renamed, never deleted, and can still be resumed."""
    folder = unfinished(output_dir)
    if (old := _keep_interrupted(output_dir)) is not None:
        say(
            f"An interrupted run was found and kept as {unfinished(old).name}. "
            f"To go on with it: resume=True, output_dir={str(old)!r}, and otherwise the values that it was begun with."
        )
    with put_in_place(folder, "finetune") as aside:
        write_text(aside / "plan.json", json.dumps(plan, indent=1))
    return folder


def _keep_interrupted(output_dir: Path) -> Path | None:
    """Rename an interrupted run so that it is that of the first free NAME-1, NAME-2, …; that output_dir, or None where there was none."""
    if not unfinished(output_dir).exists():
        return None
    number = 1
    while (other := output_dir.with_name(f"{output_dir.name}-{number}")).exists() or unfinished(other).exists():
        number += 1
    unfinished(output_dir).rename(unfinished(other))
    return other


def has_interrupted(output_dir: Path) -> bool:
    """Whether there is an interrupted run, of whatever plan."""
    return (unfinished(output_dir) / "plan.json").is_file()


def can_resume(output_dir: Path, plan: dict[str, Any]) -> bool:
    """Whether `reopen` would continue an interrupted run."""
    return has_interrupted(output_dir) and _obstacle(unfinished(output_dir), plan) is None


def reopen(output_dir: Path, plan: dict[str, Any]) -> tuple[Path, dict[str, Any], Path | None]:
    """The interrupted run under `output_dir`: its folder, the choices it was begun with, and its newest whole checkpoint.

    None for the checkpoint means that the run begins again at step 0. Raises InputError when there is no such run, when it
    was begun with another plan, and when it stopped because its loss was no number any more.
    """
    folder = unfinished(output_dir)
    if not has_interrupted(output_dir):
        raise InputError(f"There is no interrupted run in {folder}.", "Start one with resume=False.")
    if (obstacle := _obstacle(folder, plan)) is not None:
        raise obstacle
    checkpoint = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        say("The interrupted run has no whole checkpoint, so it begins again at step 0.")
    return folder, read_json(folder / "plan.json", BEGUN, ANEW)["choices"], checkpoint


def _obstacle(folder: Path, plan: dict[str, Any]) -> InputError | None:
    """Why the interrupted run in `folder` cannot be continued with `plan`; None where it can."""
    if (folder / BROKEN).is_file():
        try:
            why = read_json(folder / BROKEN, {"problem": str}, ANEW)["problem"]
        except InputError as unreadable:
            return unreadable
        return InputError(
            f"{why} The same values would lead there again.",
            f"Start anew with resume=False and a lower learning_rate; or, if the machine was at fault, delete {folder / BROKEN}.",
        )
    try:
        begun = {"gradient_accumulation_steps": 1, **read_json(folder / "plan.json", BEGUN, ANEW)}  # older plans lack it
    except InputError as unreadable:
        return unreadable
    changed = [name for name in plan if name != "choices" and plan[name] != begun.get(name)]
    if changed:
        said = ", ".join(f"{name} was {begun.get(name)!r}, is {plan[name]!r}" for name in changed)
        return InputError(f"The interrupted run was begun otherwise: {said}.", "Give the same values, or start anew with resume=False.")
    return None


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def mark_complete(checkpoint: Path) -> None:
    """Write the mark into a checkpoint whose files are all there."""
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    files = {path.relative_to(checkpoint).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths}
    write_text(checkpoint / COMPLETE, json.dumps({"files": files}, indent=1))


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint in `folder` that is as it was saved; each later one is said, and put out of the way.

    One without its mark was cut off while it was written, and is removed: a full disk may be why. One whose files are not
    those that were saved is kept as `damaged-checkpoint-N` until the run is finished; Trainer counts `checkpoint-*` only.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    whole, said = None, []
    for checkpoint in sorted(found, key=step_of, reverse=True):
        if not (checkpoint / COMPLETE).is_file():
            shutil.rmtree(checkpoint)
            said.append(f"{checkpoint.name} was cut off while it was written")
        elif (flaw := _flaw(checkpoint)) is not None:
            said.append(f"{checkpoint.name} is damaged ({flaw}; kept as {put_aside(checkpoint).name})")
        else:
            whole = checkpoint
            break
    for words in said:
        say(f"{words}; {f'{whole.name} is used instead' if whole else 'no earlier one is whole'}.")
    return whole


def put_aside(checkpoint: Path) -> Path:
    """Rename a checkpoint that must not be resumed from, and return its new path."""
    aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
    set_aside(aside)
    return checkpoint.rename(aside)


def finish(output_dir: Path) -> None:
    """Give the complete run its final name; an earlier run of that name is renamed, never overwritten.

    Raises RunError where something else took the name while the run trained.
    """
    folder = unfinished(output_dir)
    if output_dir.is_dir() and not any(output_dir.iterdir()):
        output_dir.rmdir()
    elif output_dir.exists() and not FINETUNE.is_made(output_dir):
        raise RunError(f"{output_dir} was made by something else during the training.", f"The finished model is in {folder / 'model'}.")
    if (old := set_aside(output_dir)) is not None:
        say(f"The earlier run in {output_dir.name} was kept as {old.name}.")
    folder.rename(output_dir)
    # Only now: a kill between the two would leave a run without a model in its place and without a checkpoint to go on from.
    shutil.rmtree(output_dir / "checkpoints", ignore_errors=True)


def _flaw(checkpoint: Path) -> str | None:
    """What is wrong with a marked checkpoint, sizes first because they cost nothing; None when nothing is."""
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
