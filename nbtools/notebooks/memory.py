"""How much memory a kernel takes, seen from outside."""

from __future__ import annotations

from pathlib import Path

import psutil

MEMORY_METHOD = (
    "resident memory of the kernel and the processes it started, sampled four times a second and after every cell; "
    "on Linux and Windows at least the highest that the system recorded for one of them"
)


def children_memory(pid: int) -> tuple[int, list[psutil.Process]]:
    """Bytes of resident memory that the descendants of process `pid` hold now, and these processes.

    At least the highest that one of them has ever held, where the system tells. Pages that two processes share count in each.
    """
    try:
        processes = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0, []
    total = highest = 0
    for process in processes:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue  # gone between the listing and the look
        total += memory.rss
        highest = max(highest, getattr(memory, "peak_wset", 0), _high_water(process.pid))
    return max(total, highest), processes


def _high_water(pid: int) -> int:
    """The most resident memory a process has held, in bytes, where Linux tells; else 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
