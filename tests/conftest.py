"""Every test runs apart from its reader's own settings: caches, runs, Hub token and Jupyter configuration lie in a folder that
goes away, and the Hub is off unless a test starts one of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before anything imports huggingface_hub, which reads them once.
_APART = Path(tempfile.mkdtemp(prefix="nbtools-tests-"))
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=str(_APART / "huggingface"),
    IPYTHONDIR=str(_APART / "ipython"),
    JUPYTER_CONFIG_DIR=str(_APART / "jupyter"),
    MPLBACKEND="Agg",
    NBTOOLS_CACHE=str(_APART / "cache"),
    NBTOOLS_DEVICE="cpu",  # what the tests compute themselves lies there; `python -m environments.gpu` is for a GPU
    NBTOOLS_RUNS=str(_APART / "runs"),
)
for _name in "HF_ENDPOINT HF_HUB_CACHE HF_TOKEN HUGGING_FACE_HUB_TOKEN NBTOOLS_HEADLESS NBTOOLS_PROGRESS".split():
    os.environ.pop(_name, None)


def pytest_unconfigure() -> None:
    shutil.rmtree(_APART, ignore_errors=True)


@pytest.fixture
def fresh_native() -> Iterator[None]:
    """`native_library` forgets what it found, before and after."""
    from nbtools.runtime import native_library

    native_library.cache_clear()
    yield
    native_library.cache_clear()
