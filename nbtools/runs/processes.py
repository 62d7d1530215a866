"""A kernel and the processes that it has started: what memory they hold, and how they are ended."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil

MEMORY_METHOD = (
    "resident memory of the kernel and the processes it started, sampled four times a second and after every cell; "
    "on Linux and Windows at least the highest that the system recorded for one of them"
)


class ProcessTree:
    """A kernel with everything that it has started, also what has left its process group or lost its parent since it was last looked at."""

    def __init__(self) -> None:
        self.kernel: psutil.Process | None = None
        self.members: dict[int, psutil.Process] = {}

    def watch(self, pid: int) -> None:
        """Note the process that has just been started as the kernel."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.kernel = self.members[pid] = psutil.Process(pid)

    def measure(self) -> int:
        """Bytes of resident memory that the kernel and its descendants hold now. Pages that two processes share count in each.

        At least the highest that one of them has ever held, where the system tells.
        """
        if self.kernel is None:
            return 0
        try:
            found = [self.kernel, *self.kernel.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        total = highest = 0
        for process in found:
            self.members.setdefault(process.pid, process)
            try:
                memory = process.memory_info()
            except psutil.Error:
                continue  # it ended between the listing and the look
            total += memory.rss
            highest = max(highest, getattr(memory, "peak_wset", 0), _highest_resident_bytes(process.pid))
        return max(total, highest)

    def interrupt(self) -> None:
        """Ctrl-C for the kernel and what it has started. The kernel leads a process group of its own."""
        if self.kernel is not None and self.kernel.is_running() and os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.kernel.pid, signal.SIGINT)

    def kill(self) -> None:
        """End every process that is left."""
        self.measure()
        for process in list(self.members.values()):
            with contextlib.suppress(psutil.Error):
                if process.is_running():  # compares the start time: a number that was given to another process is not touched
                    process.kill()


def _highest_resident_bytes(pid: int) -> int:
    """The most resident memory that a process has held, where Linux tells; else 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
