"""A Linux control group with a hard limit on memory: for a server and all that it starts together. Versions 1 and 2.

No swap is allowed beyond the limit, so a group that needs more has a process killed by the kernel, as a container has.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbtools.errors import MachineError
from nbtools.system import cgroup

SAMPLE_SECONDS = 0.05
LEAVE_SECONDS = 10.0


@dataclass
class Held:
    """The most bytes that a group held while it was watched.

    anonymous  memory of processes, shared memory with it: what cannot be dropped and decides whether a limit holds. Sampled twenty
               times a second
    charged    all that counts against the limit: cached file pages too, which the kernel drops when it needs room, so that this figure
               comes to the limit wherever enough files are read. The kernel's own record where it can be started anew, else sampled
    """

    anonymous: int = 0
    charged: int = 0


class MemoryGroup:
    """A group that exists while the context is open; what is still in it at the end is killed. Made by `make_group`."""

    def __init__(self, folder: Path, version: int, limit: int) -> None:
        self.folder, self.version, self.limit = folder, version, limit

    def __enter__(self) -> MemoryGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enter(self) -> None:
        """Put the calling process in: the `preexec_fn` of a Popen, whose children then belong to the group as well."""
        (self.folder / "cgroup.procs").write_text("0", encoding="utf8")  # 0 is the process that writes

    def members(self) -> list[int]:
        return [int(line) for line in (self.folder / "cgroup.procs").read_text(encoding="utf8").split()]

    def now(self) -> Held:
        """What the group holds at this moment."""
        pages = dict(line.split() for line in (self.folder / "memory.stat").read_text(encoding="utf8").splitlines())
        names = ("total_rss", "total_shmem") if self.version == 1 else ("anon", "shmem")
        used = (self.folder / cgroup.MEMORY_FILES[self.version][1]).read_text(encoding="utf8")
        return Held(sum(int(pages.get(name, 0)) for name in names), int(used))

    def kills(self) -> int:
        """How many processes the kernel has killed because the limit was reached."""
        lines = (self.folder / ("memory.oom_control" if self.version == 1 else "memory.events")).read_text(encoding="utf8").splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    @contextlib.contextmanager
    def watched(self) -> Iterator[Held]:
        """The most that the group holds inside the context."""
        held, ended = self.now(), threading.Event()

        def watch() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                now = self.now()
                held.anonymous, held.charged = max(held.anonymous, now.anonymous), max(held.charged, now.charged)

        thread = threading.Thread(target=watch, daemon=True)
        with contextlib.ExitStack() as stack:
            record = self._start_record(stack)
            thread.start()
            try:
                yield held
            finally:
                ended.set()
                thread.join()
                if record is not None:
                    record.seek(0)
                    held.charged = max(held.charged, int(record.read()))

    def _start_record(self, stack: contextlib.ExitStack) -> io.FileIO | None:
        """The kernel's own record of the most that was charged, started anew; None where it cannot be. Version 2 starts it for one open
        file, from Linux 6.12 on."""
        file = self.folder / ("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")
        try:
            record = stack.enter_context(io.FileIO(file, "r+"))  # without a buffer, whose refused bytes would be written again at the end
            record.write(b"0")
        except OSError:
            return None
        return record

    def close(self) -> None:
        """Kill what is still in the group, wait until it is gone, and remove the group."""
        until = time.monotonic() + LEAVE_SECONDS
        while (left := self.members()) and time.monotonic() < until:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
        self.folder.rmdir()


def make_group(limit: int) -> MemoryGroup:
    """A new group of this process's system, whose processes may hold `limit` bytes of memory together.

    Made in the root where that is allowed, else in the nearest group around this process where it is. Raises MachineError where none
    can be made, or where a limit is not kept as it was given.
    """
    version, around = cgroup.groups_around("memory")
    reasons = []
    for parent in [*around[-1:], *around[:-1]]:
        if version == 2 and "memory" not in _read(parent / "cgroup.subtree_control").split():
            reasons.append(f"{parent} hands no memory limits on to groups in it")
            continue
        folder = parent / f"course-{os.getpid()}-{time.monotonic_ns()}"
        try:
            folder.mkdir()
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        try:
            _set_limit(folder, version, limit)
        except OSError as error:
            folder.rmdir()
            reasons.append(f"{folder}: {error.strerror}")
            continue
        return MemoryGroup(folder, version, limit)
    raise MachineError(
        f"No control group with a memory limit can be made here: {'; '.join(reasons) or 'this system has none'}.",
        "On Linux, run it as root outside of a container, or as `systemd-run --user --scope --property=Delegate=yes COMMAND`.",
    )


def _set_limit(folder: Path, version: int, limit: int) -> None:
    """Memory, and no swap: version 1 limits both together, version 2 swap apart. Files for swap are missing where it is not counted."""
    name = cgroup.MEMORY_FILES[version][0]
    (folder / name).write_text(str(limit), encoding="utf8")
    swap, most = ("memory.memsw.limit_in_bytes", limit) if version == 1 else ("memory.swap.max", 0)
    if (folder / swap).exists():
        (folder / swap).write_text(str(most), encoding="utf8")
    kept = int((folder / name).read_text(encoding="utf8"))
    if not limit - 2**16 < kept <= limit:  # rounded to whole pages
        raise OSError(0, f"a limit of {limit} became {kept}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8")
    except OSError:
        return ""
