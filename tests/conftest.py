"""Fixtures used by several test files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh_native() -> Iterator[None]:
    """Clear the cache of `native_library` before and after the test."""
    from nbtools.accel.native import native_library

    native_library.cache_clear()
    yield
    native_library.cache_clear()
