"""Switch the package on or off, and compile its C++ sources, once per processor and compiler, on Linux."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from nbtools.errors import MachineError
from nbtools.storage import cached
from nbtools.system import say

HERE = Path(__file__).parent
# Not -ffast-math: a library linked with it makes the complete process flush subnormal numbers to zero.
FLAGS = (
    "-std=c++17 -O3 -march=native -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -fopenmp -shared -fPIC".split()
)


def enabled() -> bool:
    """Return whether this package may be used; `NBTOOLS_ACCEL=0` switches it off."""
    return os.environ.get("NBTOOLS_ACCEL") != "0"


def available(name: str) -> bool:
    """Whether the C++ source `name` ("adamw" or "decode_kernel") is compiled here, or can be."""
    return native_library(name) is not None


@functools.cache
def native_library(name: str, folder: Path = HERE) -> ctypes.CDLL | None:
    """The C++ source `name` of `folder` as a loaded library, or None where it cannot be compiled or is switched off.

    Compiling takes a few seconds, once per processor and compiler; the library is stored in the cache folder.
    """
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if sys.platform != "linux" or compiler is None or not enabled() or os.environ.get("NBTOOLS_KERNEL") == "0":
        return None
    source = folder / f"{name}.cpp"
    try:
        # The macros say which instructions the processor has: different machines may share a home folder.
        macros = subprocess.run([compiler, *FLAGS, "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, check=True).stdout
        sources = source.read_bytes() + (HERE / "numbers.h").read_bytes()
        digest = hashlib.sha256(sources + macros + " ".join(FLAGS).encode()).hexdigest()[:16]
        library = cached("kernels", f"{name}-{digest}.so")
        if not library.is_file():
            with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
                fresh = Path(scratch) / library.name
                subprocess.run([compiler, *FLAGS, f"-I{HERE}", "-o", str(fresh), str(source)], capture_output=True, check=True)
                fresh.replace(library)
        if (unsafe := _writable_by_others(library)) is not None:
            say(f"{unsafe} can be written by others, so {library.name} is not loaded and PyTorch does its work.", file=sys.stderr)
            return None
        return ctypes.CDLL(str(library))
    except (OSError, MachineError, subprocess.CalledProcessError) as error:
        say(f"{source.name} could not be compiled, so PyTorch does its work: {error}", file=sys.stderr)
        return None


def _writable_by_others(library: Path) -> Path | None:
    """Return the first of the library and its two cache folders that another user owns or that everyone may write to, or None.

    Code that such a user puts there would run with our rights. A sticky folder such as /tmp, where only owners rename, may be open to all.
    """
    for path in (library, library.parent, library.parent.parent):
        found = path.stat()
        if found.st_uid not in (0, os.getuid()) or (found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX):
            return path
    return None
