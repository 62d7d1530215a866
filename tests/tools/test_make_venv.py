"""The environment that make installs into: made, continued, repaired, or left alone, each with a real pip and tiny packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_packages import BACKEND, write_index

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "make_venv.py"
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "attention-to-finetuning"
version = "0.1.0"
dependencies = ["deep>=2"]
[project.optional-dependencies]
course = ["near>=1.4"]
dev = ["attention-to-finetuning[course]", "unwanted"]
"""

pytestmark = [pytest.mark.slow(12), pytest.mark.skipif(os.name != "posix", reason="make is for POSIX systems")]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project of two extras whose packages lie in a folder beside it."""
    write_index(tmp_path / "index")
    folder = tmp_path / "a clone"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "constraints.txt").write_text("# tested\ndeep==2.0  # not the newest\nnear<2\n")
    (folder / "backend.py").write_text(BACKEND + "\nbuild_editable = build_wheel\n")
    lines = ["Requires-Dist: deep>=2", "Provides-Extra: course", "Requires-Dist: near>=1.4; extra == 'course'"]
    lines += ["Provides-Extra: dev", "Requires-Dist: near>=1.4; extra == 'dev'", "Requires-Dist: unwanted; extra == 'dev'"]
    (folder / "requires.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def make(clone: Path, extra: str, *, index: bool = True, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Call the script as make does, with the packages' folder as the only index, or with none at all."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(clone.parent / "index") if index else ""}
    command = [python, str(SCRIPT), extra]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False, env=environment)


def installed(clone: Path) -> set[str]:
    shown = subprocess.run([".venv/bin/python", "-m", "pip", "freeze", "--all"], cwd=clone, capture_output=True, text=True, check=True)
    return {line.partition("==")[0] for line in shown.stdout.splitlines() if not line.startswith("#")}


def test_it_installs_once_and_then_needs_no_network(clone: Path) -> None:
    first = make(clone, "course")
    assert first.returncode == 0, first.stdout + first.stderr
    assert {"deep", "near"} <= installed(clone) and "unwanted" not in installed(clone)
    assert (clone / ".venv" / "installed-course").is_file()
    (clone / "pyproject.toml").touch()  # as after `git pull`: newer, and nothing has changed
    again = make(clone, "course", index=False)
    assert (again.returncode, again.stdout) == (0, ""), again.stdout + again.stderr


def test_without_a_network_what_is_missing_ends_in_one_line_to_follow(clone: Path) -> None:
    assert make(clone, "course").returncode == 0
    said = make(clone, "dev", index=False)
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert said.stderr.rstrip().splitlines()[-1].startswith("  -> Without a network: ")
    assert not (clone / ".venv" / "installed-dev").exists()
    assert make(clone, "dev").returncode == 0 and "unwanted" in installed(clone)


def test_an_environment_of_an_earlier_version_gets_what_is_new_and_keeps_the_rest(clone: Path) -> None:
    assert make(clone, "course").returncode == 0
    (clone / "constraints.txt").write_text("deep==3.0\n")
    note = clone / ".venv" / "a-file-of-mine"
    note.touch()
    done = make(clone, "course")
    assert done.returncode == 0 and "Installing into .venv: deep 2.0" in done.stdout
    assert note.exists()
    assert "deep==3.0" in subprocess.run([".venv/bin/pip", "freeze"], cwd=clone, capture_output=True, text=True, check=True).stdout


def test_an_installation_that_was_killed_is_continued(clone: Path) -> None:
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(clone.parent / "index")}
    started = subprocess.Popen(
        [sys.executable, str(SCRIPT), "dev"], cwd=clone, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while not (clone / ".venv" / "pyvenv.cfg").exists():  # venv writes it before it brings pip
        assert started.poll() is None
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not (clone / ".venv" / "installed-dev").exists()
    done = make(clone, "dev")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"deep", "near", "unwanted"} <= installed(clone)


def test_a_clone_that_was_moved_gets_an_environment_of_its_own(clone: Path) -> None:
    assert make(clone, "course").returncode == 0
    moved = clone.with_name("moved")
    clone.rename(moved)
    done = make(moved, "course")
    assert done.returncode == 0 and ".venv was made in another folder; it is made again." in done.stdout
    assert str(moved) in (moved / ".venv" / "bin" / "pip").read_text()


def test_an_environment_whose_python_is_gone_is_made_again(clone: Path) -> None:
    assert make(clone, "course").returncode == 0
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to("/no/such/python")
    done = make(clone, "course")
    assert done.returncode == 0 and "a Python that is no longer there" in done.stdout
    assert {"deep", "near"} <= installed(clone)


def test_a_folder_that_is_not_an_environment_is_not_touched(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / "thesis.txt").write_text("mine")
    said = make(clone, "course")
    assert said.returncode == 1 and "is not a virtual environment" in said.stderr
    assert (clone / ".venv" / "thesis.txt").read_text() == "mine"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_in_a_read_only_clone_make_says_what_to_do(clone: Path) -> None:
    """A file system that cannot be written to, for root as well; where that cannot be had, permissions and another user."""
    shutil.copy(ROOT / "Makefile", clone)
    inside = f"mount --bind '{clone}' '{clone}' && mount -o remount,bind,ro '{clone}' && cd '{clone}' && make course; exit $?"
    words = ["unshare", "--mount", "--map-root-user", "bash", "-c", inside] if shutil.which("unshare") else []
    if not words or subprocess.run([*words[:3], "true"], capture_output=True, check=False).returncode:
        if os.geteuid() == 0:
            pytest.skip("neither a namespace nor another user is to be had here")
        clone.chmod(0o555)
        words = ["make", "course"]
    said = subprocess.run(words, cwd=clone, capture_output=True, text=True, check=False)
    clone.chmod(0o755)
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1 and "This folder cannot be written to. Copy the clone" in said.stderr
    assert not (clone / ".venv").exists()
