"""The device, the number format and number of threads (chosen by measurement), and seeds."""

from __future__ import annotations

import functools
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nbtools.system import cgroup
from nbtools.values import CHECKS

if TYPE_CHECKING:
    import torch


def device() -> torch.device:
    """The accelerator if there is one (CUDA, then Apple's MPS), else the CPU; `NBTOOLS_DEVICE` overrides.

    If it is a CUDA device, cuDNN's attention is disabled for the process.
    """
    import torch

    name = os.environ.get("NBTOOLS_DEVICE")
    if not name:
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(kind for kind, available in found.items() if available)
    if name.startswith("cuda"):
        # cuDNN's backward pass returned NaN for packed documents in blocks of 64 tokens, in bf16 and fp16 (H200, PyTorch 2.11, CUDA 13).
        # The gradients of PyTorch's own kernels were finite, and the losses equal.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device(name)


HOPELESS = 0.2  # if bf16 has less than this fraction of fp32's speed in a small product, it is not faster in a large one


def onednn_product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """left @ right.T + bias on a CPU for left [..., n] and right [m, n], by oneDNN.

    In fp32 PyTorch calls MKL instead, which on some processors, AMD's with AVX-512 among them, runs at half of this speed.
    """
    import torch

    return torch.ops.mkldnn._linear_pointwise.default(left, right, bias, "none", [], "")


@functools.cache
def onednn_is_faster() -> bool:
    """Whether fp32 matrices should be multiplied by oneDNN: on AMD's processors, where MKL runs at about half of its speed.

    The processor's vendor decides, not a measurement: the two libraries round differently, so a run that is repeated or resumed must
    take the same one, however busy the machine is.
    """
    import torch

    return torch.backends.mkldnn.is_available() and device().type == "cpu" and processor_vendor() == "AuthenticAMD"


def processor_vendor() -> str:
    """The processor's vendor as x86 processors name it, "GenuineIntel" or "AuthenticAMD"; "" where the system does not tell."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf8", errors="replace") if info.is_file() else platform.processor()
    found = re.search(r"GenuineIntel|AuthenticAMD", text)
    return found[0] if found else ""


def measure_matmul(dtype: torch.dtype, size: int = 768, seconds: float = 0.15, onednn: bool = False) -> float:
    """Speed of a matrix product on this device, in GFLOP/s (2 * size**3 operations per product).

    dtype    of both matrices
    size     rows and columns of both matrices
    seconds  time to repeat the product in
    onednn   whether oneDNN multiplies; else PyTorch chooses

    The fastest repetition counts, so that other load on the machine matters little.
    """
    import torch

    compute_device = device()
    left = torch.randn(size, size, device=compute_device).to(dtype)
    right = torch.randn(size, size, device=compute_device).to(dtype)

    def once() -> float:
        start = time.perf_counter()
        product = onednn_product(left, right) if onednn else left @ right
        if compute_device.type in ("cuda", "mps"):
            torch.accelerator.synchronize()
        del product
        return time.perf_counter() - start

    once()
    best, deadline = once(), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        best = min(best, once())
    return 2 * size**3 / best / 1e9


@dataclass(frozen=True)
class NumberFormat:
    """The number format for the forward and backward pass. Weights stay in fp32 in any case."""

    name: str
    """"fp32", "bf16" or "fp16"."""
    reason: str
    """Why it was chosen, for a person."""
    gflops: dict[str, float]
    """The measured speed of each format that was tried, in GFLOP/s."""

    @property
    def torch_dtype(self) -> torch.dtype:
        """The format as PyTorch's type."""
        import torch

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]


@functools.cache
def choose_dtype() -> NumberFormat:
    """Choose the format for mixed-precision training: by capability on a GPU, by measurement on a CPU.

    On a CPU bf16 must be at least 1.3 times as fast as fp32 in a matrix product, because autocast has a cost of its own.
    """
    import torch

    kind = device().type
    if kind == "cuda":
        if torch.cuda.get_device_capability()[0] >= 8:
            return NumberFormat("bf16", "this GPU has bf16 matrix units", {})
        return NumberFormat("fp16", "this GPU has no bf16 matrix units; fp16 with loss scaling", {})
    if kind == "mps":
        return NumberFormat("fp32", "Apple GPU: mixed precision is not tested here", {})
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16}
    # A small product first: without bf16 units a large one takes a second, a hundred times as long as in fp32.
    speed = {name: measure_matmul(dtype, size=128, seconds=0.02) for name, dtype in formats.items()}
    if speed["bf16"] > HOPELESS * speed["fp32"]:
        # In turns, keeping the best of each, so that load on the machine cannot hit one format only.
        onednn = {"fp32": onednn_is_faster(), "bf16": False}  # in bf16 PyTorch calls it by itself
        rounds = [{name: measure_matmul(dtype, seconds=0.05, onednn=onednn[name]) for name, dtype in formats.items()} for _ in range(4)]
        speed = {name: max(measured[name] for measured in rounds) for name in formats}
    ratio = speed["bf16"] / speed["fp32"]
    if ratio >= 1.3:
        return NumberFormat("bf16", f"matrix products run {ratio:.1f} times as fast as in fp32 here (measured)", speed)
    return NumberFormat("fp32", f"bf16 runs at {ratio:.2g} times the speed of fp32 here (measured)", speed)


@contextmanager
def keep_threads() -> Iterator[None]:
    """Afterwards PyTorch has as many threads as before."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose_threads(wanted: int | None = None) -> tuple[int, str]:
    """How many threads PyTorch should use, and the reason: the fastest number that this machine allows, by measurement.

    wanted  a number of threads to use instead

    By default PyTorch starts one thread per visible core. In a container that may be more than its limit on processor time allows, and
    then each product waits for threads that are not running. Raises InputError for an invalid number of threads.
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
    with keep_threads():
        for count in candidates:
            torch.set_num_threads(count)
            speed[count] = measure_matmul(torch.float32)
    best = max(speed, key=lambda count: speed[count])
    return best, "the fastest of " + ", ".join(f"{count} ({speed[count]:.0f} GFLOP/s)" for count in candidates)


def allowed_processors() -> int:
    """The number of processors that this process may use: those it is bound to, or fewer under a control group's limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cgroup.processor_share()
    return count if share is None else max(1, min(count, int(share)))


def seed_everything(seed: int) -> None:
    """Seed the random number generators of Python, NumPy and PyTorch on every device. Raises InputError for an invalid seed."""
    from transformers import set_seed

    set_seed(CHECKS["seed"]("seed", seed))
