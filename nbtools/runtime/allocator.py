"""The C library's allocator, while a training asks for the same large blocks again and again."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_DEFAULT = 128 * 1024  # bytes, both
_LARGE = 60 * 2**20  # bytes; a block larger than this goes back all the same: kept, it would leave a hole that nothing fills


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Within this context glibc keeps what is freed instead of giving it back to the system; afterwards all of it goes back.

    A step of training frees and takes hundreds of blocks of several MB. Given back each time, they come as fresh pages that the
    system must clear first: a tenth of a step for GPT-2 small (benchmarks/README.md). Other C libraries are left as they are.
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
