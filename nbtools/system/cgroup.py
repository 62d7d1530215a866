"""Limits of this process's Linux control groups (versions 1 and 2), as set by containers, Binder and batch systems.

A limit applies to all processes in a group together, so a Jupyter server and other kernels reduce what is left for this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60  # bytes; version 1 writes "no limit" as a number somewhat below 2**63
# Files for the limit and for usage, and the entries of memory.stat for cached file pages: active, inactive, and mapped by a process.
MEMORY_FILES = {
    2: ("memory.max", "memory.current", ("active_file", "inactive_file", "file_mapped")),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file", "total_mapped_file")),
}
PROCESSOR_FILES = {2: ["cpu.max"], 1: ["cpu.cfs_quota_us", "cpu.cfs_period_us"]}  # quota and period


def groups_around(controller: str) -> tuple[int, list[Path]]:
    """The control groups of this process: their version (1 or 2) and their folders, innermost first; no folders without control groups.

    controller  "memory" or "cpu"

    In a container the root is often the container's own group, while `/proc/self/cgroup` names the path on the host. So folders that do
    not exist are skipped, and the root is always included.
    """
    try:
        lines = [line.split(":", 2) for line in MEMBERSHIP.read_text(encoding="utf8").splitlines()]
    except OSError:
        return 2, []  # not Linux
    paths = {name: path for _, names, path in lines for name in names.split(",")}  # version 2 has one line, without a controller
    version = 1 if controller in paths else 2
    root = ROOT / controller if version == 1 else ROOT
    parts = [part for part in paths.get(controller if version == 1 else "", "/").split("/") if part]
    inner = [] if ".." in parts else [root.joinpath(*parts[:count]) for count in range(len(parts), 0, -1)]
    return version, [folder for folder in [*inner, root] if folder.is_dir()]


def _memory() -> Iterator[tuple[int, int]]:
    """The limit and the free bytes of each group of this process that has a limit."""
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
    """The smallest memory limit among the groups of this process, in bytes; None without a limit."""
    return min((limit for limit, _ in _memory()), default=None)


def memory_left() -> int | None:
    """The bytes that this process can allocate before a group reaches its limit; None without a limit.

    Cached file pages count as free, because the kernel drops them when memory is needed, unless a process has mapped them (a library's
    code, a model's file).
    """
    return min((free for _, free in _memory()), default=None)


def processor_share() -> float | None:
    """The smallest limit on processor time among the groups of this process, in processors; None without a limit."""
    version, folders = groups_around("cpu")
    shares = []
    for folder in folders:
        try:
            quota, period = " ".join((folder / name).read_text(encoding="utf8") for name in PROCESSOR_FILES[version]).split()
        except OSError:
            continue
        if quota.isdigit():  # else "max", or -1
            shares.append(int(quota) / int(period))
    return min(shares, default=None)
