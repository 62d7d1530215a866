"""What a worker does: make one run, wherever it is, and leave its folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbtools.errors import MachineError
from nbtools.notebooks import Execution, Failure, execute, read_notebook
from nbtools.runtime import disk_is_full, write_text
from nbtools.runtime.destinations import FINETUNE
from nbtools.sweeps.metrics import BrokenMetricsError, find_metrics, read_metrics, value_of
from nbtools.sweeps.runs import AGAIN, ended, is_due, lock_of, part_of, place_of, sync_folder, write_status

TRIES = 3  # of one run, where its kernel or its process was lost; a notebook that raises is tried once
PROGRESS_SECONDS = 2.0  # between two notes of the cell that is running
FULL_BYTES = 1_000_000  # of free disk: with less, whatever failed had no room


class StoppedError(Exception):
    """The sweep was stopped while this run was at work; nothing of it is kept."""


@dataclass(frozen=True)
class Order:
    """Everything a worker needs for one run; plain values, so that it travels to another process or machine.

    sweep, notebook    paths, which every worker must see under the same name
    seconds, memory    limits, or None; environment: for the kernel, the share of threads among it
    retry_failed       make a failed run again; keep_model: leave what it trained on the disk
    """

    sweep: str
    run: str
    notebook: str
    parameters: dict[str, Any]
    metric: str
    seconds: float | None = None
    memory: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    retry_failed: bool = False
    keep_model: bool = True


def stop_file(sweep: Path) -> Path:
    """While this file is there, no run of the sweep is begun, and those at work end."""
    return sweep / "stop"


def perform(order: Order) -> dict[str, Any]:
    """Make a run, unless it is over already, and return its status.

    A second worker with the same order waits for the first (a scheduler that believes a worker lost gives its work away), and then finds
    it done. Raises StoppedError when the sweep was stopped, MachineError when the disk is full.
    """
    from filelock import FileLock

    sweep = Path(order.sweep)
    place_of(sweep, order.run).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_of(sweep, order.run))
    while not _acquire(lock):
        _stop_if_asked(sweep)
        time.sleep(0.2)
    try:
        before = ended(sweep, order.run)
        if before is not None and not is_due(before, order.retry_failed):
            return before
        return _make(order, sweep)
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise _full(sweep) from None
    finally:
        shutil.rmtree(part_of(sweep, order.run), ignore_errors=True)
        lock.release()


def _acquire(lock: Any) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _make(order: Order, sweep: Path) -> dict[str, Any]:
    part = part_of(sweep, order.run)
    for attempt in range(1, TRIES + 1):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        status: dict[str, Any] = {
            "state": "running", "run": order.run, "parameters": order.parameters, "attempt": attempt, "started": _now(),
            "host": socket.gethostname(), "process": os.getpid(), "threads": order.environment.get("OMP_NUM_THREADS"),
        }  # fmt: skip
        write_status(part, status)
        execution = _execute(order, sweep, part, status)
        failure = execution.failure
        metrics: dict[str, Any] = {}
        if failure is None:
            try:
                metrics = read_metrics(find_metrics(part), order.metric)
            except BrokenMetricsError as error:
                failure = Failure("metrics", 0, execution.total, "", [str(error)])
        if failure and (_says_full(failure) or _no_room(sweep)):
            raise _full(sweep)
        if failure is None or failure.kind not in AGAIN or attempt == TRIES:
            break
    status |= {"finished": _now(), "seconds": round(execution.seconds, 2), "peak_memory_bytes": execution.peak_memory}
    if failure:
        about = {"kind": failure.kind, "reason": failure.reason, "cell": failure.cell, "source": failure.source, "lines": failure.lines}
        status |= {"state": "failed", "failure": about}
        drop_models(part)
    else:
        status |= {"state": "done", "value": value_of(metrics, order.metric)}
        if (found := find_metrics(part)) != part / "metrics.json":
            write_text(part / "metrics.json", found.read_text(encoding="utf8"))
        if not order.keep_model:
            drop_models(part)
    write_status(part, status)
    _into_place(part, place_of(sweep, order.run))
    return status


def _execute(order: Order, sweep: Path, part: Path, status: dict[str, Any]) -> Execution:
    notebook = read_notebook(order.notebook)
    watch = _watcher(sweep, part, status)
    return execute(
        notebook, part / f"{notebook.name}.ipynb", order.parameters, runs=part, cwd=part, timeout=order.seconds, memory=order.memory,
        environment=order.environment, watch=watch,
    )  # fmt: skip


def _watcher(sweep: Path, part: Path, status: dict[str, Any]) -> Callable[[Execution], None]:
    due = time.monotonic() + PROGRESS_SECONDS

    def watch(execution: Execution) -> None:
        nonlocal due
        _stop_if_asked(sweep)
        if time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_SECONDS
            status.update(cell=execution.cell, cells=execution.total, seconds=round(execution.seconds, 1))
            write_status(part, status)

    return watch


def _into_place(part: Path, place: Path) -> None:
    """Give a finished run its name. What an earlier, failed attempt left there makes room."""
    if place.exists():
        old = place.with_name(f"{place.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
        part.rename(place)
        shutil.rmtree(old)
    else:
        part.rename(place)
    sync_folder(place.parent)


def drop_models(folder: Path) -> None:
    """Delete the models and checkpoints that a run trained; its metrics and its notebook stay."""
    for plan in list(folder.rglob("plan.json")):
        if FINETUNE.is_made(plan.parent):  # finished or not, and wherever the notebook trained
            for weights in ("model", "checkpoints"):
                shutil.rmtree(plan.parent / weights, ignore_errors=True)


def _stop_if_asked(sweep: Path) -> None:
    if stop_file(sweep).exists():
        raise StoppedError


def _says_full(failure: Failure) -> bool:
    said = "\n".join(failure.lines)
    return disk_is_full(OSError(said)) or "disk is full" in said  # a system's words, or the course's


def _no_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < FULL_BYTES


def _full(sweep: Path) -> MachineError:
    return MachineError(
        f"The disk of {sweep} is full; the run that met it is not counted.", "Free some space; then run the same command again."
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
