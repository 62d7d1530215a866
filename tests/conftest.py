"""Fixtures that several files use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh_native() -> Iterator[None]:
    """Empties the cache of `native_library`, before and after."""
    from nbtools.accel.native import native_library

    native_library.cache_clear()
    yield
    native_library.cache_clear()
