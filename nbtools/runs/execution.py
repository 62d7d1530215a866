"""Execute one notebook and watch it: its progress, its memory, its end. No process outlives it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

from nbtools.errors import CourseError, MachineError
from nbtools.health import Check
from nbtools.notebooks.parameters import check_secret
from nbtools.runs.job import Execution, Job
from nbtools.texts import gigabytes

if TYPE_CHECKING:
    from nbtools.runs.client import CellThread

SAMPLE_SECONDS = 0.25
GRACE_SECONDS = 5.0  # that an interrupted cell has to leave its files in order before its kernel is ended
STOP_SECONDS = 15.0  # at most, until the executed copy is saved
LOG_LINES = 12  # of the kernel's standard error, shown where a notebook ended without an error of its own

Watch = Callable[[Execution], None]


def ignore(execution: Execution) -> None:
    """A watch that does nothing."""


def execute(job: Job, output: Path, *, runs: Path, cwd: Path | None = None, watch: Watch = ignore) -> Execution:
    """Execute a job's notebook and leave the executed copy at `output`, which appears only once it is complete.

    runs   where the notebook's own files go (`NBTOOLS_RUNS` for its kernel)
    cwd    the kernel's working directory; None for the notebook's folder
    watch  called about four times a second, and at each code cell; an exception that it raises ends the execution

    A notebook that fails gives an Execution with a `failure`, and leaves its partly executed copy as NAME.failed.ipynb. A
    KeyboardInterrupt is passed on to the caller, after every process has ended. Memory is measured four times a second, so that a
    faster growth exceeds the limit before it is seen. Raises MachineError where papermill or ipykernel is not installed, and OSError
    where the executed copy cannot be saved.
    """
    for name, value in job.parameters.items():
        check_secret(name, value)
    _check_packages()
    from nbtools.runs.client import CellThread, last_lines

    output.parent.mkdir(parents=True, exist_ok=True)
    part, failed = output.with_name(f"{output.stem}.part.ipynb"), output.with_name(f"{output.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    execution = Execution(job.name)
    try:
        with tempfile.TemporaryFile() as log:
            environment = _environment(job, runs)
            kernel = {"cwd": str(cwd or Path(job.notebook).parent), "env": environment, "stdout": log, "stderr": log}
            thread = CellThread(job, part, kernel)
            thread.start()
            try:
                _follow(thread, execution, job, watch)
            finally:
                _stop(thread)
            if execution.failure is not None and execution.failure.kind in {"start", "dead", "lost"}:
                lines = [*execution.failure.lines, *last_lines(log, LOG_LINES)]
                execution.failure = replace(execution.failure, lines=lines)
        if execution.failure is None:
            execution.output = part.replace(output)
        elif part.is_file():
            execution.output = part.replace(failed)
    finally:
        part.unlink(missing_ok=True)
    return execution


def _follow(thread: CellThread, execution: Execution, job: Job, watch: Watch) -> None:
    """Fill in `execution` until the last cell has ended or a limit is reached."""
    from nbtools.runs.client import Ended

    start = cell_start = time.monotonic()
    cells_start = None  # when the first code cell started; the kernel's start has a limit of its own
    while True:
        try:
            event = thread.events.get(timeout=SAMPLE_SECONDS)
        except Empty:
            event = None
        now = time.monotonic()
        execution.seconds = now - start
        execution.peak_memory_bytes = max(execution.peak_memory_bytes, thread.memory_bytes, thread.processes.measure())
        if event is not None and execution.cell:
            execution.cell_seconds.append(now - cell_start)
        if isinstance(event, Ended):
            if event.error is not None:
                raise event.error
            if event.kind is not None:
                execution.fail(event.kind, list(event.lines))
            return
        if event is not None:
            execution.cell, execution.total, execution.source, cell_start = event.number, event.total, event.source, now
            cells_start = cells_start or now
        watch(execution)
        if job.timeout_seconds is not None and cells_start is not None and now - cells_start > job.timeout_seconds:
            execution.fail("time", [f"The limit is {job.timeout_seconds:g} seconds for all cells together."])
            return
        if job.memory_bytes is not None and execution.peak_memory_bytes > job.memory_bytes:
            held, limit = gigabytes(execution.peak_memory_bytes), gigabytes(job.memory_bytes)
            execution.fail("memory", [f"It held {held}, and the limit is {limit}."])
            return


def _stop(thread: CellThread) -> None:
    """Interrupt the cell if one is running, wait until what there is has been saved, and end every process that is left."""
    thread.stopped.set()
    deadline = time.monotonic() + STOP_SECONDS
    try:
        if thread.is_alive():
            thread.processes.measure()
            thread.processes.interrupt()
            thread.join(GRACE_SECONDS)
        while thread.is_alive() and time.monotonic() < deadline:
            thread.processes.kill()  # again and again: a kernel may have been starting
            thread.join(SAMPLE_SECONDS)
    finally:
        thread.processes.kill()


def _environment(job: Job, runs: Path) -> dict[str, str]:
    """The kernel's environment: still pictures and no bars, because the outputs are stored."""
    environment = dict(os.environ)
    environment.pop("MPLBACKEND", None)  # the kernel's own back end puts figures into the notebook
    notebooks = str(Path(job.notebook).parent)
    environment.update(NBTOOLS_RUNS=str(runs), NBTOOLS_PROGRESS="0", NBTOOLS_HEADLESS="1", NBTOOLS_NOTEBOOKS=notebooks)
    environment.update(job.environment)
    # glibc raises the size from which freed memory goes back to the system with every large block that is freed, so a training's
    # memory creeps up; with fixed limits it does not. Other systems' allocators do not read these names.
    environment.setdefault("MALLOC_ARENA_MAX", "2")
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 * 2**20))
    # The kernel must find this package also where it runs from a folder that is not installed.
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
    return environment


def _check_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("papermill", "ipykernel", "nbformat") if find_spec(name) is None]
    if missing:
        raise MachineError(
            f"Running notebooks from the command line needs {' and '.join(missing)}.",
            f"Run: {sys.executable} -m pip install {' '.join(missing)}",
        )


def try_kernel() -> Check:
    """A check of `nbtools doctor`: execute a notebook of one cell. Takes some five seconds; never raises for what is missing or broken."""
    code: dict[str, object] = {"metadata": {}, "execution_count": None, "outputs": [], "source": "import nbtools"}
    cell = {"cell_type": "code", "id": "trial", **code}
    try:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name, "trial.ipynb")
            path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf8")
            execution = execute(Job(str(path)), Path(name, "executed.ipynb"), runs=Path(name))
    except CourseError as error:
        return Check("kernel", error.problem, "warn", error.remedy)
    except OSError as error:
        return Check("kernel", f"could not be tried: {error}", "fail", "Make room, or set TMPDIR to a folder that you may write to.")
    if execution.failure is None:
        return Check("kernel", f"starts and executes a cell ({execution.seconds:.0f} s)")
    advice = "The last lines of what it said are above. `python -m ipykernel_launcher` alone shows the rest."
    return Check("kernel", "\n".join([execution.failure.reason, *execution.failure.lines]), "fail", advice)
