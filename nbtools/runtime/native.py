"""A C++ file of the package as a library in this process: built once for the processor at hand, where Linux and a compiler are."""

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
from nbtools.runtime.files import cached
from nbtools.runtime.output import say

# Not -ffast-math: linked into a library it makes the whole process flush small numbers to zero.
FLAGS = (
    "-std=c++17 -O3 -march=native -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -fopenmp -shared -fPIC".split()
)


@functools.cache
def native_library(source: Path) -> ctypes.CDLL | None:
    """`source`, compiled, or None where that cannot be had. `NBTOOLS_KERNEL=0` forgoes it.

    Compiling takes a few seconds, once for a processor and a compiler; the result stays in the cache folder.
    """
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if sys.platform != "linux" or compiler is None or os.environ.get("NBTOOLS_KERNEL") == "0":
        return None
    try:
        # The macros say which instructions the processor has: a home folder may be shared by different ones.
        macros = subprocess.run([compiler, *FLAGS, "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, check=True).stdout
        name = hashlib.sha256(source.read_bytes() + macros + " ".join(FLAGS).encode()).hexdigest()[:16]
        built = cached("kernels", f"{source.stem}-{name}.so")
        if not built.is_file():
            with tempfile.TemporaryDirectory(dir=built.parent) as aside:
                fresh = Path(aside) / built.name
                subprocess.run([compiler, *FLAGS, "-o", str(fresh), str(source)], capture_output=True, check=True)
                fresh.replace(built)
        if (stranger := _writable_by_others(built)) is not None:
            say(f"{stranger} can be written by others, so {built.name} is not loaded and PyTorch does its work.", file=sys.stderr)
            return None
        return ctypes.CDLL(str(built))
    except (OSError, MachineError, subprocess.CalledProcessError) as error:
        say(f"{source.name} could not be compiled, so PyTorch does its work: {error}", file=sys.stderr)
        return None


def _writable_by_others(library: Path) -> Path | None:
    """Of a library in the cache and the folders that it lies in there, the first that somebody else owns or everybody may write to:
    what such a person put there would run with our rights. A folder such as /tmp, in which only owners rename, may be open to all."""
    for place in (library, library.parent, library.parent.parent):
        found = place.stat()
        if found.st_uid not in (0, os.getuid()) or (found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX):
            return place
    return None
