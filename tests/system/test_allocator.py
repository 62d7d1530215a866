"""Freed memory is kept for the next step, and goes back afterwards."""

from __future__ import annotations

import sys

import psutil
import pytest

from nbtools.system import allocator, keep_freed_memory

MB = 2**20


def held() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(allocator._glibc() is None, reason="only glibc is told anything")
def test_freed_blocks_stay_within_the_context_and_go_back_after_it():
    import torch

    before = held()
    with keep_freed_memory():
        blocks = [torch.ones(20 * MB // 4) for _ in range(20)]  # more than earlier tests can have left free
        del blocks
        assert held() - before > 150 * MB
    assert held() - before < 50 * MB


def test_other_systems_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator._glibc() is None
    with keep_freed_memory():
        assert True
