"""A kernel that does not start says why, in `nbtools run` and in `nbtools doctor`; and a home that cannot be written to stops neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbtools.runs import Job, execute
from nbtools.runs import execution as module
from nbtools.runs.execution import try_kernel
from tests.runs.small_notebooks import write_notebook

ROOT = Path(__file__).parents[2]
CAUSE = "OSError: [Errno 30] Read-only file system: '/home/ada/.local'"


@pytest.fixture
def broken_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel whose process ends at once, with its cause on standard error."""
    folder = tmp_path / "first on the path"
    folder.mkdir()
    (folder / "ipykernel_launcher.py").write_text(f'raise SystemExit("{CAUSE}")', encoding="utf8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return tmp_path


@pytest.mark.slow(8)
def test_a_kernel_that_does_not_start_shows_its_standard_error(broken_kernel: Path) -> None:
    path = write_notebook(broken_kernel / "notebooks", "00_setup", "print('never')")
    execution = execute(Job(str(path)), broken_kernel / "out.ipynb", runs=broken_kernel)
    assert execution.failure is not None and execution.failure.kind == "start"
    assert CAUSE in "\n".join(execution.failure.lines) and not (broken_kernel / "out.ipynb").exists()


@pytest.mark.slow(8)
def test_doctor_fails_where_no_kernel_starts_and_says_why(broken_kernel: Path) -> None:
    check = try_kernel()
    assert check.level == "fail" and "did not start" in check.value and CAUSE in check.value and check.advice


def test_doctor_starts_a_kernel() -> None:
    check = try_kernel()
    assert check.level == "ok" and "executes a cell" in check.value


def test_doctor_without_room_for_the_trial_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied", "/tmp/x")

    monkeypatch.setattr(module, "execute", refuse)
    assert try_kernel().level == "fail" and "Permission denied" in try_kernel().value


@pytest.mark.slow(12)
def test_reviews_load_and_a_notebook_runs_where_the_home_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a home", encoding="utf8")
    (tmp_path / "temporary").mkdir()
    write_notebook(tmp_path / "notebooks", "00_setup", "import nbtools\nprint(len(nbtools.load_reviews(max_reviews=40).train))")
    variables = {name: value for name, value in os.environ.items() if name not in {"NBTOOLS_CACHE", "XDG_CACHE_HOME", "NBTOOLS_RUNS"}}
    variables |= {"HOME": str(tmp_path / "file" / "home"), "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "nbtools", "run"], cwd=tmp_path, env=variables, capture_output=True, encoding="utf8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = (tmp_path / "temporary").glob("nbtools-cache-*")
    assert made.stat().st_mode & 0o077 == 0
    executed = (tmp_path / "runs" / "course" / "00_setup.ipynb").read_text(encoding="utf8")
    assert "32" in executed and "The cache cannot be written to" in executed
