"""The commands `nbtools bundle` and `nbtools doctor --offline`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbtools.bundle.install import sha256
from nbtools.cli.workshop import load_tools
from nbtools.errors import InputError

ROOT = Path(__file__).parents[2]


def nbtools(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nbtools.cli", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bundle", "--profile", "minni", "--out", "stick"], "Did you mean 'mini'?"),
        (["bundle", "--profile", "gpt2", "--out", "stick"], "is not carried"),
        (["bundle", "--platform", "windows", "--out", "stick"], "Did you mean windows-x86_64?"),
        (["bundle", "--python", "2.7", "--out", "stick"], "from 3.11 on"),
        (["bundle", "--out", "."], "is the working directory"),
        (["bundle", "--check", "."], "is not a bundle"),
        (["doctor", "--offline", "--profile", "minni"], "Did you mean 'mini'?"),
    ],
)
def test_an_error_prints_two_lines_and_exits_with_1(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"sea")
    done = nbtools(*arguments, cwd=tmp_path)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    problem, remedy = done.stderr.splitlines()
    assert problem and remedy.startswith("  -> ")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("arguments", [["bundle"], ["doctor", "--profile", "mini"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = nbtools(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_without_a_clone_it_says_where_bundles_are_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made from a clone") as caught:
        load_tools(tmp_path)
    assert "make lab" in caught.value.remedy


def test_a_folder_called_tools_in_the_current_folder_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("raise SystemExit('the wrong tools')")
    done = nbtools("bundle", "--profile", "gpt2", "--out", "stick", cwd=tmp_path)
    assert done.returncode == 1 and "is not carried" in done.stderr


def test_check_names_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("as made")
    (tmp_path / "SHA256SUMS").write_text(f"{sha256(tmp_path / 'notes.txt')}  notes.txt\n")
    done = nbtools("bundle", "--check", tmp_path)
    assert done.returncode == 0 and "all files are intact" in done.stdout
    (tmp_path / "notes.txt").write_text("something else")
    done = nbtools("bundle", "--check", tmp_path)
    assert done.returncode == 1 and "notes.txt is damaged" in done.stdout


@pytest.mark.slow
def test_doctor_offline_adds_the_trial() -> None:
    done = nbtools("doctor", "--offline", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"name": "offline packages"' in done.stdout and "nothing was asked of the network" in done.stdout
    assert "is switched off (HF_HUB_OFFLINE)" in done.stdout
    assert '"profile mini"' in done.stdout and '"profile gpt2"' not in done.stdout  # what nobody chose is nobody's trouble
