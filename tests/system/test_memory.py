"""Free, total and peak memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nbtools.system import available_memory, memory, peak_memory, total_memory


@pytest.mark.parametrize(("left", "free"), [(None, 8_000), (4_030, 4_030), (90_000, 8_000), (0, 0)])
def test_memory_is_the_lesser_of_machine_and_container(left: int | None, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.cgroup, "memory_left", lambda: left)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000))
    assert available_memory() == free


@pytest.mark.parametrize(("limit", "total"), [(None, 9_000), (5_000, 5_000), (90_000, 9_000)])
def test_all_memory_is_the_lesser_of_machine_and_container(limit: int | None, total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.cgroup, "memory_limit", lambda: limit)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(total=9_000))
    assert total_memory() == total


def test_peak_memory_is_in_bytes_and_grows() -> None:
    before = peak_memory()
    held = np.ones(before // 8 + 10**7)  # doubles: as much again as ever held, and more
    after = peak_memory()
    assert before > 10**7 and after >= before + 5 * 10**7
    del held
