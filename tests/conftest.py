"""Fixtures used by several test files."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Fail a test that leaves PyTorch with another number of threads: the tests after it would share the cores, and be slow."""
    before = _threads()
    yield
    assert before in (None, _threads()), "the number of threads has changed"


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if hasattr(torch, "get_num_threads") else None


@pytest.fixture
def fresh_native() -> Iterator[None]:
    """Clear the cache of `native_library` before and after the test."""
    from nbtools.accel.native import native_library

    native_library.cache_clear()
    yield
    native_library.cache_clear()
