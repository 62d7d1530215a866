"""What executes a notebook's cells: nbclient with a kernel of this very Python, and papermill's record of each cell.

Imported only where a notebook is executed: nbclient and papermill take two seconds to load.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from ipykernel.kernelspec import get_kernel_dict
from IPython.core.shellapp import InteractiveShellApp
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.engines import NotebookExecutionManager
from papermill.exceptions import PapermillExecutionError
from papermill.execute import raise_for_execution_errors, remove_error_markers
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from nbtools.errors import CourseError, printable
from nbtools.notebooks.content import as_node, read_content
from nbtools.runs.job import Job
from nbtools.runs.processes import ProcessTree
from nbtools.system import without_surrogates

START_SECONDS = 180  # for a kernel to answer; a busy machine with a cold disk needs more than papermill's 60
START_TRIES = 3  # kernels that start at the same moment can pick the same port
OUTPUT_SECONDS = 120  # for a cell's last output to arrive; nbclient's 4 are too few where kernels share a slow processor
ERROR_LINES = 14
EXTENSIONS = "extra_extensions" if hasattr(InteractiveShellApp, "extra_extensions") else "extra_extension"  # IPython 7 takes one
KERNEL_ARGUMENTS = [f"--IPKernelApp.{EXTENSIONS}=nbtools.system.orphans"]
STARTING = threading.Lock()  # jupyter_client's record of ports in use is not made for threads
LOG = logging.getLogger(__name__)  # without it nbclient repeats on standard error what is reported here
LOG.addHandler(logging.NullHandler())
LOG.propagate = False


@dataclass(frozen=True)
class CellStarted:
    """The event that a code cell begins: its number, counted from 1, how many there are, and its source."""

    number: int
    total: int
    source: str


@dataclass(frozen=True)
class Ended:
    """The event that nothing more is executed: the kind of failure with its lines, the system's error, or neither."""

    kind: str | None = None
    lines: tuple[str, ...] = ()
    error: Exception | None = None


class ThisPython(AsyncKernelManager):
    """Starts this very Python as the kernel, whatever kernels called python3 are installed elsewhere."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


class Record(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's record of the execution, saved in the notebook, which also reports when a code cell starts."""

    def __init__(self, notebook: Any, output: Path, started: Callable[[CellStarted], None], ended: Callable[[], None]) -> None:
        super().__init__(notebook, output_path=str(output), progress_bar=False)
        self.total = sum(cell.cell_type == "code" for cell in notebook.cells)
        self.number, self.started, self.ended = 0, started, ended

    def cell_start(self, cell: Any, cell_index: int | None = None, **more: Any) -> None:
        if cell.cell_type == "code":
            self.number += 1
            self.started(CellStarted(self.number, self.total, cell.source))
        super().cell_start(cell, cell_index, **more)

    def cell_complete(self, cell: Any, cell_index: int | None = None, **more: Any) -> None:
        if cell.cell_type == "code":
            self.ended()
        super().cell_complete(cell, cell_index, **more)


class Client(NotebookClient):
    """nbclient, with each cell noted in a `Record` and the kernel's process in a `ProcessTree`."""

    def __init__(self, record: Record, processes: ProcessTree) -> None:
        super().__init__(
            record.nb, kernel_name="python3", kernel_manager_class=ThisPython, extra_arguments=list(KERNEL_ARGUMENTS), timeout=None,
            startup_timeout=START_SECONDS, iopub_timeout=OUTPUT_SECONDS, raise_on_iopub_timeout=True, store_widget_state=False, log=LOG,
        )  # fmt: skip
        self.record, self.processes = record, processes

    async def async_start_new_kernel(self, **options: Any) -> None:
        with STARTING:
            await super().async_start_new_kernel(**options)
        self.processes.watch(self.km.provisioner.pid)  # type: ignore[union-attr]

    async def async_execute_cell(self, cell: Any, cell_index: int, *arguments: Any, **options: Any) -> Any:
        self.record.cell_start(cell, cell_index)
        try:
            return await super().async_execute_cell(cell, cell_index, *arguments, **options)
        except CellExecutionError:
            self.record.cell_exception(cell, cell_index)
            raise
        finally:
            self.record.cell_complete(cell, cell_index)

    def process_message(self, *arguments: Any, **options: Any) -> Any:
        output = super().process_message(*arguments, **options)
        self.record.autosave_cell()
        return output


class CellThread(threading.Thread):
    """Executes a job's cells with an event loop of its own, and reports to `events`: a CellStarted for each code cell, then Ended.

    In a thread, because whoever waits for the events must be free to measure, to show and to be interrupted.
    """

    def __init__(self, job: Job, output: Path, kernel: dict[str, Any]) -> None:
        """
        output  where the executed copy is saved whenever a cell starts or ends
        kernel  how the kernel is started: `cwd`, `env`, `stdout` and `stderr`
        """
        super().__init__(name=f"cells of {job.name}", daemon=True)
        self.job, self.output, self.kernel = job, output, kernel
        self.events: SimpleQueue[CellStarted | Ended] = SimpleQueue()
        self.processes, self.stopped, self.memory_bytes = ProcessTree(), threading.Event(), 0

    def run(self) -> None:
        try:
            ended = self._execute()
        except TimeoutError as error:  # nbclient's; it is an OSError for Python
            ended = Ended("lost", (str(error),))
        except (OSError, CourseError) as error:
            ended = Ended(error=error)
        except Exception as error:
            ended = Ended("lost", (f"{type(error).__name__}: {error}",))
        self.events.put(ended)

    def _execute(self) -> Ended:
        for attempt in range(1, START_TRIES + 1):
            record = Record(self._load(), self.output, self.events.put, self._measure)
            record.notebook_start()
            client = Client(record, self.processes)
            try:
                # A cell's error is in its output, and read from there below. zmq needs the selector's loop on Windows.
                with contextlib.suppress(CellExecutionError), asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(client.async_execute(**self.kernel))
            except RuntimeError as error:  # nbclient's, where the kernel has died
                if record.number == 0 and attempt < START_TRIES and not self.stopped.is_set():
                    time.sleep(attempt)
                    continue
                return Ended("dead" if record.number else "start", tuple(str(error).splitlines()))
            finally:
                atexit.unregister(client._cleanup_kernel)  # nbclient leaves it behind where the kernel does not start
                record.notebook_complete()
            break
        try:
            raise_for_execution_errors(record.nb, str(self.output))
        except PapermillExecutionError as error:
            text = "\n".join(error.traceback) or f"{error.ename}: {error.evalue}"  # of a CourseError two lines
            return Ended("error", tuple(strip_colours(text).splitlines()[-ERROR_LINES:]))
        return Ended()

    def _load(self) -> Any:
        """The notebook with its parameters, in papermill's form. What in it is missing or null is filled in."""
        notebook = remove_error_markers(load_notebook_node(as_node(read_content(self.job.notebook))))
        if self.job.parameters:
            notebook = parameterize_notebook(notebook, self.job.parameters, kernel_name="python3", language="python")
        paths = {"input_path": self.job.notebook, "output_path": os.fspath(self.output)}
        notebook.metadata.papermill.update({name: without_surrogates(path) for name, path in paths.items()})
        return notebook

    def _measure(self) -> None:
        self.memory_bytes = max(self.memory_bytes, self.processes.measure())


def strip_colours(text: str) -> str:
    """The text without colours; other escapes, which could move a reader's cursor or name their window, are shown as text."""
    return printable(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)", "", text))


def last_lines(log: IO[bytes], count: int) -> list[str]:
    """The end of what a kernel and its libraries wrote to standard error."""
    log.seek(0)
    return strip_colours(log.read().decode("utf8", "replace")).strip().splitlines()[-count:]
