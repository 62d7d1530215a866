"""Limits that Linux control groups set to this process: of a container, of Binder, of a batch system. Versions 2 and 1.

A group's limit counts everything in it together, so what is left here shrinks with what a Jupyter server and other kernels hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60  # bytes; version 1 writes "no limit" as a number somewhat below 2**63
# limit, use, and the lines of memory.stat for file pages: active, inactive, and those of both that a process has mapped
MEMORY_FILES = {
    2: ("memory.max", "memory.current", ("active_file", "inactive_file", "file_mapped")),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file", "total_mapped_file")),
}


def groups_around(controller: str) -> tuple[int, list[Path]]:
    """The version, 2 or 1, in which `controller` ("memory" or "cpu") rules this process, and the folders of its group and of those around
    it, innermost first; no folders where there are no control groups.

    A container is often shown its own group as the root, while its membership names the path that the host sees. So a folder that is
    not there is passed over, and the root always counts.
    """
    try:
        lines = [line.split(":", 2) for line in MEMBERSHIP.read_text(encoding="utf8").splitlines()]
    except OSError:
        return 2, []  # not Linux
    paths = {name: path for _, names, path in lines for name in names.split(",")}  # version 2 has one line, without a name
    version = 1 if controller in paths else 2
    root = ROOT / controller if version == 1 else ROOT
    parts = [part for part in paths.get(controller if version == 1 else "", "/").split("/") if part]
    inner = [] if ".." in parts else [root.joinpath(*parts[:count]) for count in range(len(parts), 0, -1)]
    return version, [folder for folder in [*inner, root] if folder.is_dir()]


def _memory() -> Iterator[tuple[int, int]]:
    """Limit and free bytes of each group around this process that has a limit."""
    version, folders = groups_around("memory")
    limit, used, names = MEMORY_FILES[version]
    for folder in folders:
        try:
            allowed, taken = (folder / limit).read_text(encoding="utf8").strip(), int((folder / used).read_text(encoding="utf8"))
            pages = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf8").splitlines())
        except OSError:
            continue  # the root of version 2 has no such files
        if allowed.isdigit() and int(allowed) < UNLIMITED:
            active, inactive, mapped = (int(pages.get(name, 0)) for name in names)
            yield int(allowed), max(0, int(allowed) - taken + max(0, active + inactive - mapped))


def memory_limit() -> int | None:
    """The bytes of memory that the tightest group around this process may hold in all; None where there is no limit."""
    return min((limit for limit, _ in _memory()), default=None)


def memory_left() -> int | None:
    """The bytes that this process may still take before a group's limit is reached; None where there is no limit.

    File pages that are only cached do not count as taken: the kernel drops them when it needs room. Those that a process has mapped do
    (a library's code, a model's file): they are part of what that process holds.
    """
    return min((free for _, free in _memory()), default=None)


def processor_share() -> float | None:
    """The processors' worth of time that the tightest group around this process may use; None where there is no limit."""
    version, folders = groups_around("cpu")
    shares = []
    for folder in folders:
        try:
            if version == 2:
                quota, period = (folder / "cpu.max").read_text(encoding="utf8").split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf8").strip() for name in ("quota", "period"))
        except OSError:
            continue
        if quota.isdigit():  # else "max", or -1
            shares.append(int(quota) / int(period))
    return min(shares, default=None)
