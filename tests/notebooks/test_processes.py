"""Notebook 04's cell for several processes: it starts a real launcher, in any folder, and fails when the launcher does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_cell(folder: Path, processes: int) -> None:
    """Run the notebook's cell after a training whose model is in `folder`."""
    notebook = nbformat.read(ROOT / "notebooks" / "04_finetuning.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if cell.id == "processes"]
    exec(cell.source, {"tuned": SimpleNamespace(folder=folder), "processes": processes})


@pytest.fixture(autouse=True)
def no_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the system's commands are on the path, as in a kernel that JupyterHub or VS Code has started."""
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]) if os.name == "posix" else os.environ["PATH"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.slow(50)
def test_two_processes_train_in_a_folder_with_an_apostrophe_a_blank_and_braces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "Ada's {first} run"
    run_cell(place / "mini", 2)
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    assert json.loads((place / "mini-shared" / "metrics.json").read_text(encoding="utf8"))["steps"] == 3
    shown = capsys.readouterr().out
    assert "accelerate launch --multi_gpu --num_processes 2" in shown and "2 processes: 3 steps" in shown


@pytest.mark.slow(6)
def test_a_launch_that_fails_ends_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nbtools").mkdir()
    (tmp_path / "nbtools" / "__init__.py").write_text("raise ImportError('a broken installation')", encoding="utf8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # python -m looks there first
    with pytest.raises(subprocess.CalledProcessError):
        run_cell(tmp_path / "runs" / "mini", 2)
    assert "a broken installation" in capsys.readouterr().out


def test_one_process_only_shows_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_cell(tmp_path / "it's mine", 1)
    line = capsys.readouterr().out
    assert line.rstrip().endswith("""--output_dir 'runs/tuned/it'"'"'s mine-shared'""") and list(tmp_path.iterdir()) == []
