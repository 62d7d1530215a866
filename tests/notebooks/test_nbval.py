"""nbval, as `make test` calls it, fails for a stored output that is no longer true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]


def options() -> list[str]:
    """The options that the Makefile gives to pytest for the notebooks, in this process instead of several."""
    planned = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in planned.splitlines() if "--nbval-lax" in line]
    words = shlex.split(line.partition(" pytest ")[2])
    assert words[-1] == "notebooks"
    return [word for word in words if word.startswith("--nbval")]


def verdict(folder: Path, stored: str, tags: list[str], source: str = "print(6 * 7)") -> tuple[int, str]:
    cell = new_code_cell(source, id="answer", execution_count=1, outputs=[new_output("stream", name="stdout", text=stored)])
    cell.metadata.tags = tags
    content = new_notebook(cells=[cell])
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(content, folder / "copy.ipynb")
    command = [sys.executable, "-m", "pytest", *options(), "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    done = subprocess.run([*command, str(folder / "copy.ipynb")], capture_output=True, text=True, cwd=folder, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("stored", "tags", "source", "passes"),
    [
        pytest.param("42\n", ["nbval-check-output"], "print(6 * 7)", True, id="true-contract"),
        pytest.param("43\n", ["nbval-check-output"], "print(6 * 7)", False, id="altered-contract"),
        pytest.param("43\n", [], "print(6 * 7)", True, id="untagged-cells-are-not-compared"),
        pytest.param("", [], "1 / 0", False, id="an-error-fails-anywhere"),
    ],
)
def test_nbval_fails_for_a_changed_output(tmp_path: Path, stored: str, tags: list[str], source: str, passes: bool) -> None:
    code, said = verdict(tmp_path, stored, tags, source)
    assert (code == 0) is passes, said
    assert re.search(r"1 (passed|failed)", said), said  # it did run the cell
