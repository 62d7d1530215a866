"""The folder that holds the runs of a plan: where each works, its status, its lock, and the weights that it leaves.

Either each run has a folder of its own (a sweep), which it gets by one rename when it is over:

    FOLDER/runs/ID.part/     while it is at work: status.json says "running"
    FOLDER/runs/ID/          when it is over: status.json says "done" or "failed"

so that a run is done when, and only when, `runs/ID/status.json` says so. A status that cannot be read counts as none: the run's folder is
renamed, and the run made again. Or all work in the folder itself, one after the other (the course), and `FOLDER/status.json` has an entry
for each. The entries are the same in both.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbtools.errors import InputError, RunError
from nbtools.runs.job import Job
from nbtools.storage import hold_lock, is_locked, keep_backup, wait_for_lock, write_text
from nbtools.storage.destinations import FINETUNE
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Is, JsonError, Maybe, fit

SCHEMA = 1
STATES = ("waiting", "running", "interrupted", "stopped", "done", "failed")
FAILURE = {"reason": str, "kind": Maybe(str, "error"), "cell": Maybe(int, 0), "source": Maybe(str, ""), "lines": Maybe([str], [])}
ENTRY = {  # of one run; what else stands there is kept
    "state": Is(*STATES), "value": Maybe(float), "seconds": Maybe(float), "peak_memory_bytes": Maybe(float), "attempt": Maybe(int),
    "failure": Maybe(FAILURE),
}  # fmt: skip
OF_SEPARATE = {"schema": Is(SCHEMA), **ENTRY}
OVER = {"done": {"value": float}, "failed": {"failure": {"kind": str}}}  # what a run with a folder of its own must hold besides
OF_SHARED = {
    "schema": Is(SCHEMA), "state": str, "created": str, "command": [str], "nbtools": str, "versions": {str: object}, "machine": dict,
    "notebooks": {str: {**ENTRY, "fingerprint": str, "parameters": dict, "title": Maybe(str)}},
}  # fmt: skip
AGAIN = ("start", "dead", "lost")  # kinds of failure that are not the notebook's: it is tried again, at once and by the same command


def now() -> str:
    """The time as a status holds it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunStore:
    """The folder of a plan whose runs each have a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def of(job: Job) -> RunStore:
        """The store that a job belongs to."""
        return (SharedStore if job.shared else RunStore)(Path(job.store))

    @property
    def stop_file(self) -> Path:
        """While this file is there, no run is begun, and those at work end."""
        return self.folder / "stop"

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of the whole folder. Raises RunError where another process holds it."""
        remedy = "Wait for it, watch it with --status, or name another folder."
        return hold_lock(self.folder / ".sweep.lock", f"Another sweep is at work in {self.folder}.", remedy)

    def folder_of(self, run: str) -> Path:
        return self.folder / "runs" / run

    def part_of(self, run: str) -> Path:
        return self.folder / "runs" / f"{run}.part"

    def lock_of(self, run: str) -> Path:
        return self.folder / "runs" / f".{run}.lock"

    def working_folder(self, run: str) -> Path | None:
        """The kernel's working directory; None for the notebook's own folder."""
        return self.part_of(run)

    def claim(self, run: str, check: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Hold a run, so that one worker at a time makes it; `check` is called while another one does, and may raise."""
        return wait_for_lock(self.lock_of(run), check)

    def ended(self, run: str) -> dict[str, Any] | None:
        """The status of a run that is over; None for one that is not. A folder without a readable status is renamed on the way."""
        status = read_status(self.folder_of(run))
        if status is None and self.folder_of(run).exists():
            keep_backup(self.folder_of(run))
        return status

    def state_of(self, run: str) -> dict[str, Any]:
        """The status of a run as it stands now. Nothing is changed."""
        if (status := read_status(self.folder_of(run))) is not None:
            return status
        part = read_status(self.part_of(run))
        if part is None:
            return {"state": "waiting"}
        return {**part, "state": "running" if is_locked(self.lock_of(run)) else "interrupted"}

    def begin(self, run: str, status: Mapping[str, Any]) -> Path:
        """The folder in which a run works, with nothing in it but its status."""
        part = self.part_of(run)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_status(part, status)
        return part

    def note(self, run: str, status: Mapping[str, Any]) -> None:
        """Write the status of a run at work."""
        write_status(self.part_of(run), status)

    def finish(self, run: str, status: Mapping[str, Any]) -> None:
        """Write the final status of a run, and give its folder the name that says that it is over."""
        part, folder = self.part_of(run), self.folder_of(run)
        write_status(part, status)
        if folder.exists():  # of an earlier try that failed
            old = folder.with_name(f"{run}.old")
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old)
        else:
            part.rename(folder)
        _sync_folder(folder.parent)

    def release(self, run: str) -> None:
        """Remove what a run has left that did not come to its end."""
        shutil.rmtree(self.part_of(run), ignore_errors=True)


class SharedStore(RunStore):
    """The folder of a plan whose runs all work in it, one after the other. One process at a time uses it."""

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        lock = self.folder.with_name(f".{self.folder.name}.lock")
        return hold_lock(lock, f"Another run is at work in {self.folder}.", "Wait for it, or name another folder with --out.")

    def working_folder(self, run: str) -> Path | None:
        return None

    def claim(self, run: str, check: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def read(self) -> dict[str, Any]:
        """All of `status.json`; {} where there is none. Raises RunError where it cannot be read."""
        return dict(read_json(self.folder / "status.json", OF_SHARED, "Name another folder with --out.", RunError, absent={}))

    def write(self, status: dict[str, Any]) -> None:
        """Write `status.json`, with the state that follows from its entries."""
        states = {entry["state"] for entry in status["notebooks"].values()}
        state = next((one for one in ("running", "stopped", "failed") if one in states), "done" if states == {"done"} else "running")
        status.update(state=state, written=now())
        write_text(self.folder / "status.json", json.dumps(status, indent=1, ensure_ascii=False) + "\n")

    def ended(self, run: str) -> dict[str, Any] | None:
        entry = self.state_of(run)
        return entry if entry["state"] in ("done", "failed") else None

    def state_of(self, run: str) -> dict[str, Any]:
        return dict(self.read().get("notebooks", {}).get(run, {"state": "waiting"}))

    def begin(self, run: str, status: Mapping[str, Any]) -> Path:
        self.note(run, status)
        return self.folder

    def note(self, run: str, status: Mapping[str, Any]) -> None:
        content = self.read()
        content["notebooks"][run].update(status)
        self.write(content)

    def finish(self, run: str, status: Mapping[str, Any]) -> None:
        self.note(run, status)

    def release(self, run: str) -> None:
        with contextlib.suppress(OSError):  # on a full disk "running" stays, which a reader takes for interrupted
            if self.state_of(run)["state"] == "running":
                self.note(run, {"state": "stopped"})


def read_status(folder: Path) -> dict[str, Any] | None:
    """What `status.json` in the folder of one run says; None where there is none, or it is cut off or damaged."""
    try:
        status: dict[str, Any] = read_json(folder / "status.json", OF_SEPARATE)
        return fit(status, OVER.get(status["state"], dict))
    except (InputError, JsonError):
        return None


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    """Write `status.json` into the folder of one run."""
    write_text(folder / "status.json", json.dumps({"schema": SCHEMA, **status}, indent=1, ensure_ascii=False) + "\n")


def is_due(status: Mapping[str, Any] | None, retry_failed: bool) -> bool:
    """Whether a run with this status is to be made (again)."""
    if status is None:
        return True
    return status["state"] == "failed" and (retry_failed or status["failure"]["kind"] in AGAIN)


def drop_models(folder: Path) -> None:
    """Delete the models and checkpoints that a run has trained, finished or not and wherever it did; figures and notebooks stay."""
    for plan in list(folder.rglob("plan.json")):
        if FINETUNE.is_made(plan.parent):
            for weights in FINETUNE.weights:
                shutil.rmtree(plan.parent / weights, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Have the system write a folder's entries to the disk, so that a rename survives a loss of power; where it can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
