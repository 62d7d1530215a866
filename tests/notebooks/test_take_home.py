"""What a learner takes home from notebook 04: the cells of "how everybody does it" run where this package is not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nbtools.models.loading import MINI_FOLDER

ROOT = Path(__file__).resolve().parents[2]
CELLS = ("usual-load", "usual-map", "usual-loop")
BLOCKED = """
import sys
sys.modules["nbtools"] = None  # importing it fails
import torch
dataset, seed = "package", 0
"""


@pytest.mark.slow(15)
def test_the_loop_of_notebook_04_runs_without_this_package(tmp_path: Path) -> None:
    """Only where the model lies is another line: a folder, in place of the course's ladder."""
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / "04_finetuning.ipynb", as_version=4).cells}
    code = "\n".join(cells[name] for name in CELLS)
    line = "location, source, _ = locate(model or profile)\n"
    assert code.count(line) == 1 and "nbtools" not in code.replace(line, "")
    code = code.replace(line, f"location = {str(MINI_FOLDER)!r}\n")
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    losses = [float(found) for found in re.findall(r"^step \d+: loss ([\d.]+)$", done.stdout, re.MULTILINE)]
    assert len(losses) == 10 and sum(losses[5:]) < sum(losses[:5])
