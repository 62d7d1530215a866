"""The C library's memory allocator, while a training repeatedly allocates the same large blocks."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_DEFAULT = 128 * 1024  # bytes, both
_LARGE = 60 * 2**20  # bytes; larger blocks are still returned to the system: kept, each would leave a hole that nothing fits into


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """In this context glibc keeps freed memory instead of returning it to the system; afterwards it is returned.

    A training step allocates and frees hundreds of blocks of several MB. If each is returned, the next comes as new pages, which the
    system must clear first: a tenth of a step for GPT-2 small (benchmarks/README.md). Has no effect with other C libraries.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGE)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _DEFAULT)
        library.mallopt(_TRIM_THRESHOLD, _DEFAULT)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
