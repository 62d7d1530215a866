"""Execute one notebook in this process and report on it: `python -m nbtools.notebooks.child`, started by `execution`.

The request comes as one line of JSON on standard input, events go out as lines of JSON on standard output. Standard input
then stays open, and its end means stop: that works alike for Ctrl-C, a time limit and a parent that was killed, on every system.

papermill does the executing. What it cannot tell (a kernel that died, a stop) is told here: its saved metadata can say
"completed" for both, so the only sign of success is the event "done".
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from typing import Any, TextIO

import psutil

from nbtools.errors import printable
from nbtools.notebooks.content import read_content
from nbtools.notebooks.memory import children_memory
from nbtools.runtime.output import without_surrogates

START_SECONDS = 180  # for a kernel to answer; a busy machine with a cold disk needs more than papermill's 60
START_TRIES = 3  # kernels that start at the same moment can pick the same port
GRACE_SECONDS = 5.0  # what an interrupted cell has to put its things in order before its kernel is ended
ERROR_LINES = 14


class Reporter:
    """Sends events and keeps what the failure report needs: which code cell is running."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.cell, self.total, self.source = 0, 0, ""
        self.stopped = threading.Event()

    def send(self, event: str, **values: Any) -> None:
        self.out.write(json.dumps({"event": event, **values}) + "\n")
        self.out.flush()

    def start_cell(self, source: str) -> None:
        self.cell, self.source = self.cell + 1, source
        self.send("cell", cell=self.cell, total=self.total, source=source)

    def fail(self, kind: str, lines: list[str]) -> None:
        self.send("failed", kind=kind, cell=self.cell, total=self.total, source=self.source, lines=lines[-ERROR_LINES:])


def main() -> int:
    # The kernel inherits file descriptor 1, and what its C code prints there must not mix with the events.
    reporter = Reporter(os.fdopen(os.dup(1), "w", encoding="utf8"))
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_watch, args=(reporter,), daemon=True).start()
    try:
        return _execute(request, reporter)
    finally:
        _end(psutil.Process().children(recursive=True), 0.0)


def _execute(request: dict[str, Any], reporter: Reporter) -> int:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    engine = _announcing_engine(reporter)
    papermill.iorw.papermill_io.register(request["input"], MendedNotebook())
    for attempt in range(1, START_TRIES + 1):
        try:
            papermill.execute_notebook(
                # papermill runs str.format over both paths.
                request["input"].replace("{", "{{").replace("}", "}}"),
                request["output"].replace("{", "{{").replace("}", "}}"),
                request["parameters"],
                engine_name=engine,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                start_timeout=START_SECONDS,
                iopub_timeout=120,  # seconds; nbclient's 4 are too few where kernels share a slow processor
                store_widget_state=False,
                cwd=request["cwd"],
                kernel_manager_class=_kernel_manager(),
            )
            reporter.send("done")
            return 0
        except PapermillExecutionError as error:
            if reporter.stopped.is_set():
                return 1
            # The kernel's own rendering: for a CourseError it is two lines.
            text = "\n".join(error.traceback) or f"{error.ename}: {error.evalue}"
            reporter.fail("error", strip_colours(text).splitlines())
            return 1
        except (DeadKernelError, RuntimeError) as error:
            if reporter.stopped.is_set():
                return 1
            if reporter.cell == 0 and attempt < START_TRIES:
                time.sleep(attempt)
                continue
            reporter.fail("dead" if reporter.cell else "start", str(error).splitlines())
            return 1
    return 1


class MendedNotebook:
    """How papermill reads the notebook: as the rest of the course does, with what is missing or null in it filled in."""

    def read(self, path: str) -> str:
        return json.dumps(read_content(path))

    def pretty_path(self, path: str) -> str:
        return path


def _announcing_engine(reporter: Reporter) -> str:
    """Register papermill's engine with events added as a code cell starts and ends; return its name."""
    from papermill.engines import NBClientEngine, papermill_engines

    class AnnouncingEngine(NBClientEngine):
        @classmethod
        def execute_notebook(cls, nb: Any, *arguments: Any, **keywords: Any) -> Any:
            stored = nb.metadata.papermill  # papermill keeps its two paths there, and a notebook is UTF-8
            stored.update({name: without_surrogates(stored[name]) for name in ("input_path", "output_path")})
            return super().execute_notebook(nb, *arguments, **keywords)

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **keywords: Any) -> Any:
            reporter.total = sum(cell.cell_type == "code" for cell in nb_man.nb.cells)
            start, complete = nb_man.cell_start, nb_man.cell_complete

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                if cell.cell_type == "code":
                    reporter.start_cell(cell.source)
                return start(cell, cell_index, **more)

            def cell_complete(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                if cell.cell_type == "code":
                    reporter.send("memory", bytes=children_memory(os.getpid())[0])
                return complete(cell, cell_index, **more)

            nb_man.cell_start, nb_man.cell_complete = cell_start, cell_complete
            return super().execute_managed_notebook(nb_man, kernel_name, **keywords)

    papermill_engines.register("nbtools", AnnouncingEngine)
    return "nbtools"


def _kernel_manager() -> type:
    """A kernel manager whose kernel is this very Python, whatever kernels called python3 are installed elsewhere."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    return ThisPython


def _watch(reporter: Reporter) -> None:
    """Wait for the end of standard input; then interrupt the running cell, and end the kernel if it does not yield."""
    # Not sys.stdin: a thread that waits in it holds its lock, and the interpreter then cannot end.
    while os.read(0, 1024):
        continue
    reporter.stopped.set()
    processes = psutil.Process().children(recursive=True)
    if os.name == "posix":
        _interrupt(psutil.Process().children())
        psutil.wait_procs(processes, timeout=GRACE_SECONDS)
    _end(processes, 1.0)
    time.sleep(GRACE_SECONDS)  # the main thread saves what there is and leaves; if it cannot, this thread leaves for it
    os._exit(1)


def _interrupt(kernels: list[psutil.Process]) -> None:
    """Ctrl-C for a kernel and what it has started: the kernel leads a process group of its own."""
    for kernel in kernels:
        try:
            group = os.getpgid(kernel.pid)
            if group != os.getpgid(0):
                os.killpg(group, signal.SIGINT)
        except ProcessLookupError:
            continue


def _end(processes: list[psutil.Process], seconds: float) -> None:
    """Ask the processes to end, and end those that are still there after `seconds`."""
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    for process in psutil.wait_procs(processes, timeout=seconds)[1]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def strip_colours(text: str) -> str:
    """The text without colours; other escapes, which could move a reader's cursor or name their window, are shown as text."""
    return printable(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)", "", text))


if __name__ == "__main__":
    sys.exit(main())
