"""Locks between processes: a lock file that the operating system releases when its holder ends, however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nbtools.errors import RunError

if TYPE_CHECKING:
    from filelock import FileLock

POLL_SECONDS = 0.2  # between two attempts to acquire a lock that another process holds


@contextmanager
def wait_for_lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path` in this context, and wait for it as long as another process holds it.

    waiting  called before each further attempt; what it raises ends the wait
    """
    while (lock := _try_lock(path)) is None:
        waiting()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def hold_lock(path: Path, problem: str, remedy: str) -> AbstractContextManager[None]:
    """Hold the lock file `path` in this context. Raises RunError with `problem` and `remedy` if another process holds it."""

    def refuse() -> None:
        raise RunError(problem, remedy)

    return wait_for_lock(path, refuse)


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock file `path`. Nothing is created."""
    if not path.exists():
        return False
    if (lock := _try_lock(path)) is None:
        return True
    lock.release()
    return False


def _try_lock(path: Path) -> FileLock | None:
    """Acquire the lock file `path` and return it, to be released by the caller; None if another process holds it."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
