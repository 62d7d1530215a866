"""One run of a sweep on disk: its id, its folder, its `status.json`.

    DIR/runs/ID.part/     while it is at work: status.json says "running"
    DIR/runs/ID/          when it is over: status.json says "done" or "failed"; it came here by one rename

So a run is done when, and only when, `runs/ID/status.json` says so. A status that cannot be read is worth nothing: the run's folder is
set aside and the run made again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.notebooks import Notebook
from nbtools.notebooks.fingerprint import fingerprint
from nbtools.runtime import set_aside, write_text
from nbtools.runtime.foreign import ForeignError, Is, Maybe, fit, read_json
from nbtools.sweeps.plan import SweepPlan, full_values

SCHEMA = 1
STATES = ("waiting", "running", "interrupted", "done", "failed")
STATUS = {
    "schema": Is(SCHEMA), "state": Is(*STATES), "value": Maybe(float), "seconds": Maybe(float), "peak_memory_bytes": Maybe(float),
    "attempt": Maybe(int), "failure": Maybe(dict),
}  # fmt: skip
ENDED = {  # what a run that is over must hold besides
    "done": {"value": float},
    "failed": {"failure": {"kind": str, "reason": str, "cell": Maybe(int, 0), "source": Maybe(str, ""), "lines": Maybe([str], [])}},
}
AGAIN = ("start", "dead", "lost")  # kinds of failure that are not the notebook's: tried again, by the run itself and by the next sweep
MOST_FILES = 10_000  # of a folder that a parameter names; all are read
ID_LENGTH = 12  # hexadecimal digits: two of a million runs share theirs once in six hundred sweeps


@dataclass(frozen=True)
class Run:
    """One run: its id, which everything that decides the result goes into, and the parameters that the notebook is given."""

    id: str
    parameters: dict[str, Any]


def runs_of(plan: SweepPlan) -> list[Run]:
    """The runs of a plan, in its order."""
    marks: dict[str, str] = {}
    runs: dict[str, Run] = {}
    for row in plan.rows:
        run = Run(run_id(plan.notebook, row, marks), row)
        runs.setdefault(run.id, run)  # a value that is the notebook's own and one that is left out are the same run
    return list(runs.values())


def run_id(notebook: Notebook, row: Mapping[str, Any], marks: dict[str, str] | None = None) -> str:
    """The id of a run: of the code cells, all parameters, this package's sources and weights, the libraries that decide numbers, and the
    content of every local file or folder that a parameter names (a model, a data set).

    marks  contents that were read already, by path
    """
    values = full_values(notebook, row)
    marks = {} if marks is None else marks
    contents = {name: _content(value, notebook.path.parent, marks) for name, value in values.items() if isinstance(value, str)}
    seen = [fingerprint(notebook, values), sorted((name, mark) for name, mark in contents.items() if mark)]
    return hashlib.sha256(json.dumps(seen).encode("utf8")).hexdigest()[:ID_LENGTH]


def _content(value: str, beside: Path, marks: dict[str, str]) -> str:
    """SHA-256 of the file or the folder that `value` names; "" where it names none."""
    if len(value) > 1_000 or "\0" in value or "\n" in value:
        return ""
    place = (beside / Path(value).expanduser()).resolve()
    try:
        if not value or not place.exists() or place == beside.resolve():
            return ""
        if str(place) not in marks:
            files = (
                [place]
                if place.is_file()
                else sorted(itertools.islice((file for file in place.rglob("*") if file.is_file()), MOST_FILES + 1))
            )
            if len(files) > MOST_FILES:
                raise InputError(
                    f"A parameter names the folder {place}, which holds more than {MOST_FILES:,} files.", "Name a model or a data set."
                )
            digest = hashlib.sha256()
            for file in files:
                digest.update(f"{file.relative_to(place.parent).as_posix()}\0".encode("utf8", "surrogateescape"))
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            marks[str(place)] = digest.hexdigest()
    except OSError:
        return ""  # a text that no file system takes for a name, or a place that nobody may read
    return marks[str(place)]


def place_of(sweep: Path, run: str) -> Path:
    return sweep / "runs" / run


def part_of(sweep: Path, run: str) -> Path:
    return sweep / "runs" / f"{run}.part"


def lock_of(sweep: Path, run: str) -> Path:
    return sweep / "runs" / f".{run}.lock"


def read_status(folder: Path) -> dict[str, Any] | None:
    """What `status.json` in a run's folder says; None where there is none, or it is cut off or foreign."""
    try:
        status: dict[str, Any] = read_json(folder / "status.json", STATUS)
        return fit(status, ENDED.get(status["state"], dict))
    except (InputError, ForeignError):
        return None


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    write_text(folder / "status.json", json.dumps({"schema": SCHEMA, **status}, indent=1, ensure_ascii=False) + "\n")


def ended(sweep: Path, run: str) -> dict[str, Any] | None:
    """The status of a run that is over, done or failed; None for one that is not. A broken folder is set aside on the way."""
    folder = place_of(sweep, run)
    status = read_status(folder)
    if status is None and folder.exists():
        set_aside(folder)
    return status


def is_due(status: Mapping[str, Any] | None, retry_failed: bool) -> bool:
    """Whether a run with this status is to be made (again)."""
    if status is None:
        return True
    return status["state"] == "failed" and (retry_failed or status["failure"]["kind"] in AGAIN)


def state_of(sweep: Path, run: str) -> dict[str, Any]:
    """The status of a run as it stands now, from whatever of it is on the disk. Nothing is changed."""
    if (status := read_status(place_of(sweep, run))) is not None:
        return status
    part = read_status(part_of(sweep, run))
    if part is None:
        return {"state": "waiting"}
    return {**part, "state": "running" if is_locked(lock_of(sweep, run)) else "interrupted"}


def is_locked(path: Path) -> bool:
    """Whether somebody holds this lock."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def sync_folder(folder: Path) -> None:
    """Have the system write a folder's entries to the disk, so that a rename outlives a loss of power; where it can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
