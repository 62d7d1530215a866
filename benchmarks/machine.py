"""What this machine is, and the two speeds that bound every other: matrix products and reading memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.kinds import ProcessorKind, kind_of
from nbtools.system.compute import allowed_processors

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "trl", "llama-cpp-python")
UNITS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")  # as /proc/cpuinfo writes them
SIZES = (512, 1024, 1536)  # of square products: the small one stays in a core's cache, the large one resembles GPT-2's head


def facts() -> dict[str, Any]:
    """Processor, vendor, cores, memory (bytes), the vector and matrix units that it names, system. No host name, no path.

    cores         processors that this process may use
    onednn_limit  the newest instructions that oneDNN may use, if ONEDNN_MAX_CPU_ISA limits them
    """
    described = _cpuinfo()
    flags = set((described.get("flags") or described.get("Features") or "").split())
    if platform.machine() in ("arm64", "aarch64"):
        flags.add("asimd")  # part of the architecture; not every system lists it
    return {
        "vendor": described.get("vendor_id") or described.get("CPU implementer") or "",
        "processor": described.get("model name") or platform.processor() or platform.machine(),
        "cores": allowed_processors(),
        "memory_bytes": psutil.virtual_memory().total,
        "units": [name for name in UNITS if name in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "onednn_limit": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    }


def this_kind() -> ProcessorKind:
    """The kind of this machine."""
    return kind_of(facts())


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty on other systems."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf8").split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def versions() -> dict[str, str]:
    from nbtools.training.metrics import versions as installed  # here: it loads torch

    return installed(PACKAGES)


def speed(seconds: float = 0.4, megabytes: int = 512, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """The best matrix products of this machine (GFLOP/s, fp32 and bf16) and the best read bandwidth (bytes a second).

    seconds    for each of `sizes` in each format, and for each way to read; megabytes: the array read, far larger than any cache

    The best of several sizes, of PyTorch's two libraries for fp32 products, and of several ways to read: a limit must not be lower than
    what a program can reach.
    """
    import torch

    from nbtools.system import measure_matmul

    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        found[f"{name}_gflops"] = max(measure_matmul(dtype, size, seconds) for size in sizes)
    if torch.backends.mkldnn.is_available():  # oneDNN's product is faster than MKL's on some processors
        found["fp32_gflops"] = max(found["fp32_gflops"], *(measure_matmul(torch.float32, size, seconds, onednn=True) for size in sizes))
    array = torch.ones(megabytes * 2**20 // 4)
    rows, ones = array.view(-1, 1024), torch.ones(1024)
    ways: list[Callable[[], Any]] = [array.sum, array.view(torch.int32).amax, lambda: torch.mv(rows, ones)]
    found["read_bytes_per_second"] = array.nbytes / min(_best(way, seconds) for way in ways)
    return found


def _best(way: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest of the repetitions that fit into `seconds`, after one that does not count."""
    way()
    best, deadline = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        way()
        best = min(best, time.perf_counter() - start)
    return best
