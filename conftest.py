"""Isolates tests and notebooks from the user's settings. Their order and time limits are in tests/gate.py."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# Caches, runs, Hub token and Jupyter configuration are in a folder that is deleted afterwards, and the Hub is off unless a test starts
# its own server. Set before anything imports huggingface_hub, which reads these variables once.
_TEMPORARY = Path(tempfile.mkdtemp(prefix="nbtools-tests-"))
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=str(_TEMPORARY / "huggingface"),
    IPYTHONDIR=str(_TEMPORARY / "ipython"),
    JUPYTER_CONFIG_DIR=str(_TEMPORARY / "jupyter"),
    MPLBACKEND="Agg",
    NBTOOLS_DEVICE="cpu",  # the expected values are computed on the processor; `python -m environments.gpu` is for a GPU
    NBTOOLS_RUNS=str(_TEMPORARY / "runs"),
)
if "PYTEST_XDIST_WORKER" not in os.environ:  # all processes share what one has unpacked and compiled
    os.environ["NBTOOLS_CACHE"] = str(_TEMPORARY / "cache")
for _name in "HF_ENDPOINT HF_HUB_CACHE HF_TOKEN HUGGING_FACE_HUB_TOKEN NBTOOLS_HEADLESS NBTOOLS_PROGRESS".split():
    os.environ.pop(_name, None)

pytest_plugins = ["tests.gate"]


def pytest_unconfigure() -> None:
    shutil.rmtree(_TEMPORARY, ignore_errors=True)
