"""Fixtures that several files use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh_native() -> Iterator[None]:
    """`native_library` forgets what it found, before and after."""
    from nbtools.runtime import native_library

    native_library.cache_clear()
    yield
    native_library.cache_clear()
