"""Run one notebook in a process of its own and watch it: its progress, its memory, its end. No process outlives the run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil

from nbtools.errors import MachineError
from nbtools.notebooks.catalog import Notebook
from nbtools.notebooks.child import strip_colours
from nbtools.notebooks.memory import children_memory
from nbtools.notebooks.parameters import refuse_secret

SAMPLE_SECONDS = 0.25
LOG_LINES = 12  # of standard error, shown where a notebook ended without an error of its own
STOP_SECONDS = 15.0  # the child needs at most about twelve: interrupt, end, save


@dataclass(frozen=True)
class Failure:
    """Why a notebook did not finish.

    kind   "error" (a cell raised), "dead" (the kernel ended), "time" (the time limit), "start" (no kernel came up),
           "memory" (the memory limit), "metrics" (said by who reads what it left), "lost" (the executing process itself broke)
    cell   the code cell that was running, counted from 1, which is also the number in its brackets; 0 for none
    lines  the last lines of what was reported
    """

    kind: str
    cell: int
    total: int
    source: str
    lines: list[str]

    @property
    def reason(self) -> str:
        return {
            "error": "the cell raised an error",
            "dead": "the kernel died (running out of memory is the usual cause)",
            "time": "it ran past its time limit",
            "memory": "it took more memory than its limit",
            "metrics": "it ended, and left no figures that can be used",
            "start": "its kernel did not start",
            "lost": "the process that executed it ended early",
        }[self.kind]


@dataclass
class Execution:
    """What is known of one notebook's run while it runs and afterwards.

    cell, total  the code cell that is running (`source`), of so many
    output       the executed copy, or, after a failure, the partly executed one; None where nothing was saved
    seconds      wall-clock time, kernel start included
    peak_memory  bytes, see memory.MEMORY_METHOD
    cell_seconds how long each code cell took, in order
    """

    notebook: Notebook
    cell: int = 0
    total: int = 0
    source: str = ""
    seconds: float = 0.0
    peak_memory: int = 0
    cell_seconds: list[float] = field(default_factory=list)
    output: Path | None = None
    failure: Failure | None = None


def execute(
    notebook: Notebook,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    runs: Path,
    timeout: float | None = None,
    memory: int | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[Execution], None] = lambda execution: None,
) -> Execution:
    """Run `notebook` and leave the executed copy at `output`, which appears only once it is complete.

    runs         where the notebook's own files go (`NBTOOLS_RUNS` for its kernel)
    timeout      seconds that all cells together may take once the kernel runs; None for no limit
    memory       bytes that the kernel and its processes may hold; seen four times a second, so that a faster growth overshoots
    cwd          the kernel's working directory; None: the notebook's folder
    environment  variables for the kernel beside this process's own
    watch        called about four times a second, and at each cell; an exception that it raises ends the run

    A notebook that fails gives an Execution with a `failure` and leaves its
    partly executed copy as NAME.failed.ipynb. A KeyboardInterrupt goes on to the caller, after every process is gone. Raises
    MachineError where papermill or ipykernel is not installed.
    """
    for name, value in (parameters or {}).items():
        refuse_secret(name, value)
    _check_packages()
    output.parent.mkdir(parents=True, exist_ok=True)
    part, failed = output.with_name(f"{output.stem}.part.ipynb"), output.with_name(f"{output.stem}.failed.ipynb")
    request = {
        "input": str(notebook.path),
        "output": str(part),
        "parameters": dict(parameters or {}),
        "cwd": str(cwd or notebook.path.parent),
    }
    execution = Execution(notebook, total=len(notebook.code))
    failed.unlink(missing_ok=True)
    try:
        with tempfile.TemporaryFile() as log:
            child = _Child(request, _environment(notebook, runs, environment or {}), log)
            try:
                done = _follow(child, execution, timeout, memory, watch)
            finally:
                child.stop()
            if not done and execution.failure is None:
                execution.failure = Failure("lost", execution.cell, execution.total, execution.source, [])
            if execution.failure is not None and execution.failure.kind in {"start", "dead", "lost"}:
                lines = [*execution.failure.lines, *_last_lines(log)]
                execution.failure = replace(execution.failure, lines=lines)
        if execution.failure is None:
            part.replace(output)
            execution.output = output
        elif part.is_file():
            part.replace(failed)
            execution.output = failed
    finally:
        part.unlink(missing_ok=True)
    return execution


def _last_lines(log: IO[bytes]) -> list[str]:
    """The end of what the child, its kernel and their libraries wrote to standard error."""
    log.seek(0)
    return strip_colours(log.read().decode("utf8", "replace")).strip().splitlines()[-LOG_LINES:]


def _follow(child: _Child, execution: Execution, timeout: float | None, memory: int | None, watch: Callable[[Execution], None]) -> bool:
    """Read the child's events until it ends; whether it said "done". Fills in `execution`."""
    start = cell_start = time.monotonic()
    started = 0.0  # when the first code cell did; a slow kernel start has its own limit
    while (event := child.next_event()) is not None:
        now = time.monotonic()
        execution.seconds = now - start
        execution.peak_memory = max(execution.peak_memory, child.measure_memory())
        if execution.cell and event.get("event") in {"cell", "done", "failed"}:
            execution.cell_seconds.append(now - cell_start)
        match event.get("event"):
            case "cell":
                execution.cell, execution.total, execution.source, cell_start = event["cell"], event["total"], event["source"], now
            case "memory":
                execution.peak_memory = max(execution.peak_memory, event["bytes"])
            case "done":
                return True
            case "failed":
                execution.failure = Failure(event["kind"], event["cell"], event["total"], event["source"], event["lines"])
                return False
        watch(execution)
        started = started or (now if execution.cell else 0.0)
        if timeout is not None and started and now - started > timeout:
            lines = [f"The limit is {timeout:g} seconds for all cells together."]
            execution.failure = Failure("time", execution.cell, execution.total, execution.source, lines)
            return False
        if memory is not None and execution.peak_memory > memory:
            lines = [f"It held {execution.peak_memory / 1e9:.2f} GB, and the limit is {memory / 1e9:.2f} GB."]
            execution.failure = Failure("memory", execution.cell, execution.total, execution.source, lines)
            return False
    return False


class _Child:
    """The process that executes one notebook, with its kernel and everything that the kernel starts."""

    def __init__(self, request: dict[str, Any], environment: dict[str, str], log: IO[bytes]) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the parent only, which then ends this one in good order.
        apart: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined,unused-ignore]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbtools.notebooks.child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, **apart,
        )  # fmt: skip
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.family: dict[int, psutil.Process] = {}
        self._send(json.dumps(request) + "\n")
        threading.Thread(target=self._read, daemon=True).start()

    def _send(self, text: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended already; its exit status says so
            self.process.stdin.write(text.encode("utf8"))
            self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def next_event(self) -> dict[str, Any] | None:
        """The next event, {} when there was none for SAMPLE_SECONDS, None when the child has ended."""
        try:
            return self.events.get(timeout=SAMPLE_SECONDS)
        except queue.Empty:
            return {}

    def measure_memory(self) -> int:
        """Bytes that the kernel and its descendants hold now; notes which processes these are."""
        held, processes = children_memory(self.process.pid)
        for process in processes:
            self.family.setdefault(process.pid, process)
        return held

    def stop(self) -> None:
        """Have the child end its kernel and itself; end by force whatever of them is left after STOP_SECONDS."""
        assert self.process.stdin is not None
        try:
            self.measure_memory()
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self.process.stdin.close()
                self.process.wait(STOP_SECONDS)
        finally:
            for process in self.family.values():
                with contextlib.suppress(psutil.Error):
                    if process.is_running():  # compares the start time: a number that was given anew is not touched
                        process.kill()
            self.process.kill()
            self.process.wait()


def _environment(notebook: Notebook, runs: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The kernel's environment: still pictures and no bars, because the outputs are stored."""
    environment = dict(os.environ)
    environment.pop("MPLBACKEND", None)  # the kernel's own back end puts figures into the notebook
    environment.update(NBTOOLS_RUNS=str(runs), NBTOOLS_PROGRESS="0", NBTOOLS_HEADLESS="1", NBTOOLS_NOTEBOOKS=str(notebook.path.parent))
    environment.update(more)
    # glibc raises the size from which freed memory goes back to the system with every large block that is freed, so a training's
    # memory creeps up; with fixed limits it does not. Other systems' allocators do not read these names.
    environment.setdefault("MALLOC_ARENA_MAX", "2")
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 * 2**20))
    # The child must find this package also where it runs from a folder that is not installed.
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
