"""Memory of this process and of the machine, in bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from nbtools.system import cgroup


def available_memory() -> int:
    """Bytes of memory that this process can still allocate: the machine's free memory, or less under a control group's limit."""
    free, left = int(psutil.virtual_memory().available), cgroup.memory_left()
    return free if left is None else min(free, left)


def total_memory() -> int:
    """Bytes of memory that all processes can hold together: the machine's memory, or a control group's limit."""
    total, limit = int(psutil.virtual_memory().total), cgroup.memory_limit()
    return total if limit is None else min(total, limit)


def peak_memory() -> int:
    """The peak resident memory of this process so far, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # getrusage's figure survives exec: a small child of a large process would report its parent's peak
        status = Path("/proc/self/status").read_text(encoding="utf8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
