"""What a worker does: execute one job, wherever it is, and leave its results complete or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from nbtools.errors import MachineError
from nbtools.runs.execution import Watch, execute, ignore
from nbtools.runs.job import Execution, Failure, Job
from nbtools.runs.metrics import BrokenMetricsError, find_metrics, read_value
from nbtools.runs.store import AGAIN, RunStore, drop_models, is_due, now
from nbtools.storage import explain_full_disk, says_disk_full, write_text

PROGRESS_SECONDS = 2.0  # between two notes of the cell that is running
FULL_BYTES = 1_000_000  # of free disk: with less, whatever failed had no room


class StoppedError(Exception):
    """The plan was stopped while this job was at work; nothing of it is kept."""


def run_job(job: Job, watch: Watch = ignore) -> dict[str, Any]:
    """Execute a job, unless it is over already, and return its status.

    watch  called about four times a second, and at each code cell

    A second worker with the same job waits for the first (a scheduler that takes a worker for lost gives its work to another), and then
    finds it done. Raises StoppedError when the plan was stopped, MachineError when the disk is full.
    """
    store = RunStore.of(job)
    with store.claim(job.id, lambda: _check_stop(store)):
        before = store.ended(job.id)
        if before is not None and not is_due(before, job.retry_failed):
            return before
        try:
            with explain_full_disk(_full(store)):
                return _make(job, store, watch)
        finally:
            store.release(job.id)


def _make(job: Job, store: RunStore, watch: Watch) -> dict[str, Any]:
    for attempt in range(1, job.tries + 1):
        status: dict[str, Any] = {
            "state": "running", "run": job.id, "parameters": job.parameters, "attempt": attempt, "started": now(),
            "host": socket.gethostname(), "process": os.getpid(), "threads": job.environment.get("OMP_NUM_THREADS"),
        }  # fmt: skip
        folder = store.begin(job.id, status)
        execution = _execute(job, store, folder, status, watch)
        failure, value = execution.failure, None
        if failure is None and job.metric is not None:
            failure, value = _take_metrics(folder, job.metric, execution.total)
        if failure and (_says_full(failure) or shutil.disk_usage(folder).free < FULL_BYTES):
            raise _full(store)
        if failure is None or failure.kind not in AGAIN:
            break
    status |= {"finished": now(), "seconds": round(execution.seconds, 2), "peak_memory_bytes": execution.peak_memory_bytes}
    if failure:
        status |= {"state": "failed", "failure": failure.record()}
    else:
        status |= {"state": "done"} | ({} if value is None else {"value": value})
    if not job.shared and (failure or not job.keep_model):
        drop_models(folder)
    store.finish(job.id, status)
    return status


def _execute(job: Job, store: RunStore, folder: Path, status: dict[str, Any], watch: Watch) -> Execution:
    due = time.monotonic() + PROGRESS_SECONDS

    def note(execution: Execution) -> None:
        nonlocal due
        _check_stop(store)
        watch(execution)
        if time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_SECONDS
            status.update(cell=execution.cell, cells=execution.total, seconds=round(execution.seconds, 1))
            store.note(job.id, status)

    return execute(job, folder / f"{job.name}.ipynb", runs=folder, cwd=store.working_folder(job.id), watch=note)


def _take_metrics(folder: Path, metric: str, cells: int) -> tuple[Failure | None, float | None]:
    """The figure that a finished notebook has left, and its metrics.json directly in the folder; or why there is none."""
    try:
        found = find_metrics(folder)
        value = read_value(found, metric)
    except BrokenMetricsError as error:
        return Failure("metrics", 0, cells, "", [str(error)]), None
    if found.parent != folder:
        write_text(folder / "metrics.json", found.read_text(encoding="utf8"))
    return None, value


def _check_stop(store: RunStore) -> None:
    if store.stop_file.exists():
        raise StoppedError


def _says_full(failure: Failure) -> bool:
    said = "\n".join(failure.lines)
    return says_disk_full(said) or "disk is full" in said  # the system's words, or the course's


def _full(store: RunStore) -> MachineError:
    return MachineError(
        f"The disk of {store.folder} is full; the run that met it is not counted.", "Free some space; then run the same command again."
    )
