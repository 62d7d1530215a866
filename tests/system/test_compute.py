"""Device, number format, memory and seeds."""

from __future__ import annotations

import platform
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from nbtools.system import compute
from nbtools.system.compute import NumberFormat, choose_dtype, choose_threads, device, measure_matmul, seed_everything


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU, and a choice that is made anew."""
    monkeypatch.setenv("NBTOOLS_DEVICE", "cpu")
    choose_dtype.cache_clear()
    yield
    choose_dtype.cache_clear()


def test_device_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_DEVICE", "meta")
    assert device().type == "meta"


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_accelerator_comes_first(cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device().type == expected


@pytest.mark.parametrize("named", [None, "cuda:0"])
def test_a_gpu_computes_attention_without_cudnn(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradients were seen to be NaN; the switch is PyTorch's, and there on every build."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("NBTOOLS_DEVICE", named) if named else monkeypatch.delenv("NBTOOLS_DEVICE", raising=False)
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert device().type == "cuda"
    assert not torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()


def test_speed_counts_two_operations_a_product(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that ticks one second a look, each product takes a second: 2 * 10**3 operations are 2e-6 GFLOP/s."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(compute.time, "perf_counter", lambda: float(next(ticks)))
    assert measure_matmul(torch.float32, size=10, seconds=3) == pytest.approx(2e-6)


def test_speed_is_that_of_the_fastest_repetition(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 9, 10, 14, 14, 15, 15, 17, 17, 99])  # warm-up 9 s, then 4 s, the deadline, and one of 2 s
    monkeypatch.setattr(compute.time, "perf_counter", lambda: float(next(times)))
    assert measure_matmul(torch.float32, size=10, seconds=2) == pytest.approx(1e-6)


@pytest.mark.parametrize(("ratio", "name"), [(4.0, "bf16"), (1.31, "bf16"), (1.2, "fp32"), (0.1, "fp32")])
def test_number_format_follows_the_measurement(ratio: float, name: str, on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def measure(dtype: torch.dtype, size: int = 768, seconds: float = 0.15, onednn: bool = False) -> float:
        sizes.append(size)
        return 100.0 * ratio if dtype == torch.bfloat16 else 100.0

    monkeypatch.setattr(compute, "measure_matmul", measure)
    monkeypatch.setattr(compute, "onednn_is_faster", lambda: False)
    choice = choose_dtype()
    assert choice.name == name and f"{ratio:.2g} times" in choice.reason.replace(".0 times", " times")
    assert (768 in sizes) == (ratio > 0.2), "a full product in a hopeless format takes seconds"
    assert choice.gflops == {"fp32": 100.0, "bf16": 100.0 * ratio}
    assert choose_dtype() is choice, "one measurement a process, so that a run keeps to one format"


@pytest.mark.parametrize(("vendor", "faster"), [("AuthenticAMD", True), ("GenuineIntel", False), ("", False)])
def test_the_vendor_decides_which_library_multiplies(vendor: str, faster: bool, on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a measurement: on a busy machine a resumed run could take the other library, and round differently."""
    monkeypatch.setattr(compute, "measure_matmul", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr(compute, "processor_vendor", lambda: vendor)
    compute.onednn_is_faster.cache_clear()
    try:
        assert compute.onednn_is_faster() is (faster and torch.backends.mkldnn.is_available())
    finally:
        compute.onednn_is_faster.cache_clear()


def test_this_processors_vendor_is_known() -> None:
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    assert (compute.processor_vendor() in ("GenuineIntel", "AuthenticAMD")) is x86


def test_in_fp32_the_faster_library_counts(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(dtype: torch.dtype, size: int = 768, seconds: float = 0.15, onednn: bool = False) -> float:
        return 240.0 if dtype == torch.bfloat16 else 220.0 if onednn else 100.0

    monkeypatch.setattr(compute, "measure_matmul", measure)
    monkeypatch.setattr(compute, "onednn_is_faster", lambda: True)
    assert choose_dtype().name == "fp32"


def test_both_libraries_multiply_alike() -> None:
    left, right, bias = torch.randn(3, 40), torch.randn(50, 40), torch.randn(50)
    torch.testing.assert_close(compute.onednn_product(left, right, bias), left @ right.T + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("capability", "name"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")])
def test_number_format_on_a_gpu_follows_its_generation(
    capability: tuple[int, int], name: str, on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBTOOLS_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_dtype().name == name


def test_number_format_as_torch_names_it() -> None:
    assert [NumberFormat(name, "", {}).torch_dtype for name in ("fp32", "bf16", "fp16")] == [torch.float32, torch.bfloat16, torch.float16]


def test_seed_reaches_every_generator() -> None:
    def draw() -> tuple[float, float, float]:
        seed_everything(7)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    first = draw()
    assert draw() == first
    seed_everything(8)
    assert random.random() != first[0]


def test_threads_are_one_a_core_unless_less_is_allowed_or_asked_for(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    assert choose_threads(3) == (3, "asked for")
    monkeypatch.setattr(compute, "allowed_processors", lambda: before)
    monkeypatch.setattr(compute.psutil, "cpu_count", lambda logical: before)
    assert choose_threads() == (before, "one for each core")
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    assert choose_threads() == (before, "OMP_NUM_THREADS says so")


def test_where_a_container_allows_less_the_faster_number_of_threads_is_measured(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(compute, "allowed_processors", lambda: 2)
    monkeypatch.setattr(compute.psutil, "cpu_count", lambda logical: 4)
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(compute, "measure_matmul", lambda dtype: {4: 50.0, 2: 90.0}[used[-1]])
    assert choose_threads() == (2, "the fastest of 4 (50 GFLOP/s), 2 (90 GFLOP/s)")
    assert used == [4, 2, 4]


@pytest.mark.parametrize(("share", "count"), [(None, 8), (2.5, 2), (0.5, 1), (90.0, 8)])
def test_a_cgroups_share_of_time_counts_as_processors(share, count, monkeypatch):
    monkeypatch.setattr(compute.cgroup, "processor_share", lambda: share)
    monkeypatch.setattr(compute.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert compute.allowed_processors() == count
