"""Make the runs of a plan: what is due is handed to an executor, what comes back is counted, and a stop loses nothing."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import nbtools
from nbtools.errors import CourseError, RunError
from nbtools.notebooks.fingerprint import describe_machine, hash_package, library_versions
from nbtools.runtime import alone, write_text
from nbtools.runtime.foreign import Is, Maybe, read_json
from nbtools.sweeps.environment import packages_installed
from nbtools.sweeps.executors import Executor, Handle, LostWorkerError
from nbtools.sweeps.plan import SweepPlan
from nbtools.sweeps.runs import SCHEMA, Run, ended, is_due, part_of, place_of, read_status, runs_of, write_status
from nbtools.sweeps.work import TRIES, Order, StoppedError, drop_models, stop_file

UNKNOWN = Maybe(str, "unknown")
RECORD = {
    "schema": Is(SCHEMA), "runs": [{"id": re.compile(r"[\w-]{1,64}"), "parameters": dict}], "metric": str, "better": Is("lower", "higher"),
    "varied": [str], "asked": Maybe(dict, {}), "command": Maybe([str], []), "keep": Maybe(str), "versions": Maybe(dict, {}),
    **dict.fromkeys(("created", "notebook", "title", "executor", "nbtools", "python", "package_sha256", "packages_sha256"), UNKNOWN),
    "machine": Maybe(
        {"processor": UNKNOWN, "system": UNKNOWN, "cores": Maybe(int, 0), "memory_bytes": Maybe(float, 0)},
        {"processor": "unknown", "system": "unknown", "cores": 0, "memory_bytes": 0},
    ),
}  # fmt: skip
LOCK = ".sweep.lock"
JOBS = "slurm"  # what submitit keeps of each job
LOOK_SECONDS = 0.1  # between two looks at what has ended
STOP_SECONDS = 60.0  # that runs at work are waited for after a stop; they need about fifteen


@dataclass
class Progress:
    """Where a sweep stands.

    total    runs of the plan; kept: of them, over before this start; done, failed: now
    running  ids of runs that were handed over
    best     the best run and its value so far, or None
    varied   names of the parameters in which runs differ
    """

    total: int
    workers: int
    varied: Sequence[str] = ()
    kept: int = 0
    done: int = 0
    failed: int = 0
    running: list[str] = field(default_factory=list)
    best: tuple[Run, float] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        return self.total - self.kept - self.done - self.failed

    @property
    def seconds_left(self) -> float | None:
        """By what a run took until now, workers counted; None before the first has ended."""
        over = self.done + self.failed
        return (time.monotonic() - self.started) / over * self.left if over else None


class Observer(Protocol):
    """Who shows a sweep to a person."""

    def say(self, text: str) -> None: ...
    def update(self, progress: Progress) -> None: ...
    def finish(self, run: Run, status: Mapping[str, Any], progress: Progress) -> None: ...


def run_sweep(
    plan: SweepPlan, folder: Path, executor: Executor, observer: Observer, *, retry_failed: bool = False, command: Iterable[str] = ()
) -> Progress:
    """Make every run of `plan` that is not over yet, in `folder`.

    retry_failed  make failed runs again as well
    command       what a person typed, for the record

    Raises RunError where another sweep is at work in the folder, where the disk is full, or where a cluster is gone. A KeyboardInterrupt
    goes on to the caller once every run at work has ended; the same call then goes on with what is left.
    """
    with alone(folder / LOCK, f"Another sweep is at work in {folder}.", "Wait for it, watch it with --status, or name another folder."):
        stop_file(folder).unlink(missing_ok=True)
        runs = runs_of(plan)
        _write_record(plan, runs, folder, executor, command)
        due: deque[Run] = deque()
        progress = Progress(len(runs), executor.workers, plan.varied)
        for run in runs:
            status = ended(folder, run.id)
            if is_due(status, retry_failed):
                due.append(run)
            else:
                assert status is not None
                progress.kept += 1
                _note_best(plan, folder, run, status, progress)
        if progress.kept:
            observer.say(f"{progress.kept} of {progress.total} runs are over already, and kept.")
        try:
            _Work(plan, folder, executor, observer, retry_failed, progress, due).go()
        finally:
            stop_file(folder).unlink(missing_ok=True)
    return progress


@dataclass
class _Work:
    """The runs that are due, and those that were handed over."""

    plan: SweepPlan
    folder: Path
    executor: Executor
    observer: Observer
    retry_failed: bool
    progress: Progress
    due: deque[Run]
    pending: dict[str, tuple[Run, Handle]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)  # how often a run's worker was

    def go(self) -> None:
        try:
            while self.due or self.pending:
                while self.due and len(self.pending) < self.executor.slots:
                    self._hand_over(self.due.popleft())
                if not self._collect():
                    time.sleep(LOOK_SECONDS)
                self.progress.running = list(self.pending)
                self.observer.update(self.progress)
        except BaseException:
            self._stop()
            raise

    def _hand_over(self, run: Run) -> None:
        limits = self.plan.limits
        environment = {"OMP_NUM_THREADS": str(self.executor.threads)} if self.executor.threads else {}
        order = Order(
            sweep=str(self.folder), run=run.id, notebook=str(self.plan.notebook.path), parameters=run.parameters, metric=self.plan.metric,
            seconds=limits.minutes and limits.minutes * 60, memory=int(limits.memory_gb * 1e9) if limits.memory_gb else None,
            environment=environment, retry_failed=self.retry_failed, keep_model=self.plan.keep != "none",
        )  # fmt: skip
        self.pending[run.id] = run, self.executor.submit(order)

    def _collect(self) -> bool:
        """Take in what has ended; whether anything has."""
        over = [run for run, handle in self.pending.values() if handle.done()]
        for run in over:
            _, handle = self.pending.pop(run.id)
            try:
                status = handle.result()
            except LostWorkerError as error:
                self.lost[run.id] = self.lost.get(run.id, 0) + 1
                if self.lost[run.id] < TRIES:
                    self.due.append(run)
                    continue
                status = _write_lost(self.folder, run, str(error))
            self._count(run, status)
        return bool(over)

    def _count(self, run: Run, status: Mapping[str, Any]) -> None:
        if status["state"] == "done":
            self.progress.done += 1
            _note_best(self.plan, self.folder, run, status, self.progress)
        else:
            self.progress.failed += 1
        self.observer.finish(run, status, self.progress)

    def _stop(self) -> None:
        """End what is at work, and count what still comes home whole."""
        stop_file(self.folder).touch()  # empty: it goes onto a full disk too
        self.due.clear()
        deadline = time.monotonic() + STOP_SECONDS
        while self.pending and time.monotonic() < deadline:
            for run_id in [run_id for run_id, (_, handle) in self.pending.items() if handle.done()]:
                run, handle = self.pending.pop(run_id)
                try:
                    self._count(run, handle.result())
                except (StoppedError, LostWorkerError, CourseError):
                    continue  # nothing of it is kept; it is due again
            time.sleep(LOOK_SECONDS)


def _note_best(plan: SweepPlan, folder: Path, run: Run, status: Mapping[str, Any], progress: Progress) -> None:
    """Keep `progress.best` true, and with it the models on the disk, where only the best run's is wanted."""
    if status["state"] != "done":
        return
    best, value = progress.best, float(status["value"])
    better = best is None or plan.sign * value < plan.sign * best[1]
    if plan.keep == "best":
        if not better:
            drop_models(place_of(folder, run.id))
        elif best is not None:
            drop_models(place_of(folder, best[0].id))
    if better:
        progress.best = run, value


def read_record(folder: Path) -> dict[str, Any]:
    """The `sweep.json` of a folder: what was asked, the runs, versions, machine. Raises RunError where there is none."""
    record = read_json(folder / "sweep.json", RECORD, "Run the sweep again; done runs are kept.", RunError, absent=None)
    if record is None:
        raise RunError(f"{folder} holds no sweep.", "Name the folder that was given to nbtools sweep with --out.")
    return dict(record)


def _write_record(plan: SweepPlan, runs: list[Run], folder: Path, executor: Executor, command: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    packages = packages_installed()
    write_text(folder / "packages.txt", "".join(f"{line}\n" for line in packages.lines))
    try:
        created = read_record(folder)["created"]
    except RunError:
        created = datetime.now(UTC).isoformat(timespec="seconds")
    record = {
        "schema": SCHEMA, "kind": "sweep", "created": created, "command": list(command), "asked": plan.asked,
        "notebook": str(plan.notebook.path), "title": plan.notebook.title, "metric": plan.metric, "better": plan.better, "keep": plan.keep,
        "varied": plan.varied, "runs": [{"id": run.id, "parameters": run.parameters} for run in runs], "executor": executor.name,
        "nbtools": nbtools.__version__, "package_sha256": hash_package(), "versions": library_versions(),
        "packages_sha256": packages.sha256, "machine": describe_machine(), "python": sys.version.split()[0],
    }  # fmt: skip
    write_text(folder / "sweep.json", json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n")


def _write_lost(folder: Path, run: Run, message: str) -> dict[str, Any]:
    """The status of a run whose worker was lost as often as it was tried."""
    failure = {"kind": "lost", "reason": "the worker that made it was lost, every time", "cell": 0, "source": "", "lines": [message]}
    status: dict[str, Any] = {"state": "failed", "run": run.id, "parameters": run.parameters, "failure": failure}
    if ended(folder, run.id) is None:
        part = part_of(folder, run.id)
        part.mkdir(parents=True, exist_ok=True)
        write_status(part, status)
        part.rename(place_of(folder, run.id))
    return read_status(place_of(folder, run.id)) or status
