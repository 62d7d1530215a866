"""The device, the number format chosen by measurement, memory, and seeds."""

from __future__ import annotations

import functools
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nbtools.runtime import cgroup
from nbtools.values import CHECKS

if TYPE_CHECKING:
    import torch


def device() -> torch.device:
    """The accelerator when there is one (CUDA, then Apple's MPS), else the CPU. `NBTOOLS_DEVICE` overrides.

    Whoever gets a CUDA device computes attention there without cuDNN from then on.
    """
    import torch

    if named := os.environ.get("NBTOOLS_DEVICE"):
        if named.startswith("cuda"):
            _leave_out_cudnn_attention()
        return torch.device(named)
    if torch.cuda.is_available():
        _leave_out_cudnn_attention()
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@functools.cache
def _leave_out_cudnn_attention() -> None:
    """Once a process: attention by PyTorch's own kernels. cuDNN's backward pass gave NaN for packed documents in blocks of 64 tokens, in
    bf16 and in fp16 (H200, PyTorch 2.11 for CUDA 13); the gradients of PyTorch's own were finite, and their losses the same.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


HOPELESS = 0.2  # bf16 at less than this part of the speed of fp32 in a small product will not be faster in a large one


def measure_matmul(dtype: torch.dtype, size: int = 768, seconds: float = 0.15) -> float:
    """Speed of a `size` x `size` x `size` matrix product on this device, in GFLOP/s (2 * size**3 operations each).

    The fastest of the repetitions that fit into `seconds`: the question is what the unit can do, not how busy the machine is.
    """
    import torch

    where = device()
    left = torch.randn(size, size, device=where).to(dtype)
    right = torch.randn(size, size, device=where).to(dtype)

    def once() -> float:
        start = time.perf_counter()
        product = left @ right
        if where.type == "cuda":
            torch.cuda.synchronize()
        elif where.type == "mps":
            torch.mps.synchronize()
        del product
        return time.perf_counter() - start

    once()
    best, deadline = once(), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        best = min(best, once())
    return 2 * size**3 / best / 1e9


@dataclass(frozen=True)
class NumberFormat:
    """The number format for the forward and backward pass, and why. Weights stay in fp32 whatever this says.

    `name` is "fp32", "bf16" or "fp16"; `gflops` holds the measured speed of each format that was tried.
    """

    name: str
    reason: str
    gflops: dict[str, float]

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]


@functools.cache
def choose_dtype() -> NumberFormat:
    """Choose the format for mixed-precision training, by capability on a GPU and by measurement on a CPU.

    On a CPU bf16 must be at least 1.3 times as fast as fp32 in a short matrix product, because autocast itself costs some.
    """
    import torch

    where = device()
    if where.type == "cuda":
        if torch.cuda.get_device_capability()[0] >= 8:
            return NumberFormat("bf16", "this GPU has bf16 matrix units", {})
        return NumberFormat("fp16", "this GPU has no bf16 matrix units; fp16 with loss scaling", {})
    if where.type == "mps":
        return NumberFormat("fp32", "Apple GPU: mixed precision is not tested here", {})
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16}
    # A small product first: without bf16 units a full one takes a second, a hundred times as long as in fp32.
    speed = {name: measure_matmul(dtype, size=128, seconds=0.02) for name, dtype in formats.items()}
    if speed["bf16"] > HOPELESS * speed["fp32"]:
        # In turns, and the best of each: on a busy machine one format alone could meet the bad moment.
        rounds = [{name: measure_matmul(dtype, seconds=0.05) for name, dtype in formats.items()} for _ in range(4)]
        speed = {name: max(one[name] for one in rounds) for name in formats}
    ratio = speed["bf16"] / speed["fp32"]
    if ratio >= 1.3:
        return NumberFormat("bf16", f"matrix products run {ratio:.1f} times as fast as in fp32 here (measured)", speed)
    return NumberFormat("fp32", f"bf16 runs at {ratio:.2g} times the speed of fp32 here (measured)", speed)


def choose_threads(wanted: int | None = None) -> tuple[int, str]:
    """How many threads PyTorch should compute with, and why: the fastest of what this machine allows, by measurement.

    PyTorch starts one a core that it sees. In a container that may be more than the container's share of time, and then each
    product waits for threads that do not run. Raises InputError for a number below 1, or of more threads than help.
    """
    import torch

    if wanted is not None:
        return CHECKS["threads"]("threads", wanted), "asked for"
    default = torch.get_num_threads()
    if os.environ.get("OMP_NUM_THREADS"):
        return default, "OMP_NUM_THREADS says so"
    others = {min(default, count) for count in (allowed_processors(), psutil.cpu_count(logical=False) or default)}
    candidates = sorted(others | {default}, reverse=True)
    if len(candidates) == 1 or device().type != "cpu":
        return default, "one for each core"
    speed = {}
    try:
        for count in candidates:
            torch.set_num_threads(count)
            speed[count] = measure_matmul(torch.float32)
    finally:
        torch.set_num_threads(default)
    best = max(speed, key=lambda count: speed[count])
    return best, "the fastest of " + ", ".join(f"{count} ({speed[count]:.0f} GFLOP/s)" for count in candidates)


def allowed_processors() -> int:
    """The processors that this process may use: those it is bound to, or fewer where a control group limits its time."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cgroup.processor_share()
    return count if share is None else max(1, min(count, int(share)))


def available_memory() -> int:
    """Bytes of memory this process may still take: the machine's free memory, or less where a control group sets a limit."""
    free, left = int(psutil.virtual_memory().available), cgroup.memory_left()
    return free if left is None else min(free, left)


def total_memory() -> int:
    """Bytes of memory that this process and all beside it may hold together: the machine's, or a control group's limit."""
    total, limit = int(psutil.virtual_memory().total), cgroup.memory_limit()
    return total if limit is None else min(total, limit)


def peak_memory() -> int:
    """The most resident memory this process has held so far, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # what getrusage says there outlives exec: a small process of a large one would report its parent's
        status = Path("/proc/self/status").read_text(encoding="utf8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on every device."""
    from transformers import set_seed

    set_seed(CHECKS["seed"]("seed", seed))
