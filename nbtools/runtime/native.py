"""A C++ file of the package as a library in this process: built once for the processor at hand, where Linux and a compiler are."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nbtools.runtime.files import cache_folder

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
        built = cache_folder("kernels") / f"{source.stem}-{name}.so"
        if not built.is_file():
            with tempfile.TemporaryDirectory(dir=built.parent) as aside:
                fresh = Path(aside) / built.name
                subprocess.run([compiler, *FLAGS, "-o", str(fresh), str(source)], capture_output=True, check=True)
                fresh.replace(built)
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{source.name} could not be compiled, so PyTorch does its work: {error}", file=sys.stderr)
        return None
