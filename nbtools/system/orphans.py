"""An IPython extension that ends a kernel and all its child processes once the process that started the kernel has ended.

ipykernel watches its parent too, but leaves the kernel's own children running: the processes of a training, for example.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
import time
from typing import Any

import psutil

POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0  # for the running cell to clean up after the interrupt
END_SECONDS = 1.0  # between terminating a process and killing it


class ParentWatch(threading.Thread):
    """Waits until the parent process has ended; then interrupts the running cell, ends all child processes, and exits."""

    def __init__(self, shell: Any) -> None:
        super().__init__(name="parent-watch", daemon=True)
        # jupyter_client sets the variable (on Windows to a handle); it is right even if the parent has already ended.
        self.parent = int(os.environ.get("JPY_PARENT_PID") or os.getppid()) if os.name == "posix" else os.getppid()
        self.idle = threading.Event()
        self.idle.set()
        shell.events.register("pre_execute", self.idle.clear)
        shell.events.register("post_execute", self.idle.set)

    def run(self) -> None:
        if os.name == "posix":
            while os.getppid() == self.parent:  # an orphan gets a new parent at once, even if the old one stays a zombie
                time.sleep(POLL_SECONDS)
        else:
            with contextlib.suppress(psutil.Error):
                psutil.Process(self.parent).wait()
        try:
            children = psutil.Process().children(recursive=True)
            self._interrupt()
            self.idle.wait(GRACE_SECONDS)
            _end({*children, *psutil.Process().children(recursive=True)})
        finally:
            os._exit(1)

    def _interrupt(self) -> None:
        if os.name == "posix" and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGINT)
        else:
            _thread.interrupt_main()


def _end(processes: set[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=END_SECONDS)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def load_ipython_extension(shell: Any) -> None:
    """Replace ipykernel's own watch, which starts with the kernel and would end it before its children."""
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.instance().poller = ParentWatch(shell)
