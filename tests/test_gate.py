"""tests/gate.py: slow tests must be marked, every test has a time-out, and the longest run first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gate import expected_seconds, longest_first

ROOT = Path(__file__).parents[1]
FILE = """
import subprocess, sys, time
import pytest
import tests.gate

tests.gate.calibrate = lambda: 0.0  # as on a fast, idle machine

BURN = "import time\\nwhile time.process_time() < {}: pass"

@pytest.fixture
def alone():
    exec(BURN.format(time.process_time() + 2))

@pytest.fixture(scope="module")
def shared():
    exec(BURN.format(time.process_time() + 6))

def test_that_takes_long_with_its_child_and_its_fixture(alone):
    exec(BURN.format(time.process_time() + 2))
    subprocess.run([sys.executable, "-c", BURN.format(2)], check=True)

@pytest.mark.slow
def test_that_is_marked(alone):
    exec(BURN.format(time.process_time() + 4))

def test_that_is_the_first_to_need_a_shared_fixture(shared):
    pass

def test_that_waits():
    time.sleep(5.5)

@pytest.mark.timeout(1)
def test_that_hangs():
    while True:
        time.sleep(0.1)
"""


@pytest.mark.slow(40)
def test_a_slow_test_without_the_mark_fails_and_a_test_that_hangs_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_file.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", "pyproject.toml", "--rootdir", str(ROOT), "-rA", str(tmp_path)]
    command += ["-m", "not slow and not long"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTEST_ADDOPTS": ""})
    passed = {line.rpartition("::")[2] for line in done.stdout.splitlines() if line.startswith("PASSED")}
    assert passed == {"test_that_is_the_first_to_need_a_shared_fixture", "test_that_waits"}, done.stdout
    assert "1 deselected" in done.stdout
    assert "The test passed, but took 6." in done.stdout and "@pytest.mark.slow(6)" in done.stdout
    assert "FAILED" in done.stdout and "test_that_hangs - Failed: Timeout (>1.0s)" in done.stdout


class Item:
    """The parts of a pytest item that the order depends on."""

    def __init__(self, nodeid: str, slow: float | None = None, group: str | None = None) -> None:
        self.nodeid = nodeid
        self.marks = {"slow": pytest.mark.slow(slow) if slow else None, "xdist_group": pytest.mark.xdist_group(group) if group else None}

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        found = self.marks.get(name)
        return found.mark if found else None


def test_the_longest_are_started_first_and_a_group_stays_in_order() -> None:
    items = [
        Item("a"),
        Item("b", 20),
        Item("cell 0", 9, "notebook"),
        Item("c"),
        Item("cell 1", 9, "notebook"),
        Item("cell 2", 9, "notebook"),
        Item("d", 50),
        Item("e", None, "pair"),
        Item("f"),
        Item("g", None, "pair"),
    ]  # fmt: skip
    longest_first(items)  # type: ignore[arg-type]
    assert [item.nodeid for item in items] == ["d", "cell 0", "cell 1", "cell 2", "b", "a", "c", "e", "g", "f"]


def test_every_test_has_a_time_out_far_above_what_it_takes(request: pytest.FixtureRequest) -> None:
    assert len(request.session.items) > 0
    for item in request.session.items:
        mark = item.get_closest_marker("timeout")
        assert mark is not None and mark.args[0] >= max(900, 10 * expected_seconds(item)), item.nodeid


GROUP = """
import pytest, time

pytestmark = pytest.mark.xdist_group("together")

@pytest.mark.parametrize("number", range(4))
def test_in_a_group(number):
    time.sleep(0.3)
"""


@pytest.mark.slow(20)
def test_a_group_stays_in_one_process(tmp_path: Path) -> None:
    """With pytest 9.2, pytest-xdist 3.8 gave the cells of a notebook to several processes."""
    (tmp_path / "test_file.py").write_text(GROUP)
    command = [sys.executable, "-m", "pytest", "-vv", "-n2", "--dist=loadgroup", "--no-loadscope-reorder", str(tmp_path)]
    command += ["-c", "pyproject.toml", "--rootdir", str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTEST_ADDOPTS": ""})
    workers = {line.partition("]")[0] for line in done.stdout.splitlines() if "PASSED" in line}
    assert done.stdout.count("PASSED") == 4 and len(workers) == 1, done.stdout
