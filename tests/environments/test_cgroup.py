"""A real group with a hard limit, where one can be made; and what is said where none can."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from environments.cgroup import MemoryGroup, make_group
from nbtools.errors import MachineError
from nbtools.system import cgroup

MB = 10**6
FILLS = "import sys, time; block = bytearray(b'x') * int(sys.argv[1]); time.sleep(float(sys.argv[2]))"


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    try:
        made = make_group(200 * MB)
    except MachineError as error:
        pytest.skip(error.problem)
    with made:
        yield made


def fill(group: MemoryGroup, megabytes: int, seconds: float = 0.0) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FILLS, str(megabytes * MB), str(seconds)], preexec_fn=group.enter)


def test_what_takes_more_than_the_limit_is_killed_and_counted(group: MemoryGroup) -> None:
    assert fill(group, 100).wait() == 0 and group.kills() == 0
    assert fill(group, 400).wait() == -9 and group.kills() == 1


def test_the_limit_is_for_all_processes_together(group: MemoryGroup) -> None:
    both = [fill(group, 130, 5.0) for _ in range(2)]
    ends = [process.wait() for process in both]
    assert sorted(ends) == [-9, 0] and group.kills() == 1


def test_the_peak_is_of_what_was_held_while_it_was_watched(group: MemoryGroup) -> None:
    with group.watched() as first:
        fill(group, 120, 0.5).wait()
    with group.watched() as second:
        fill(group, 40, 0.5).wait()
    for held, megabytes in ((first, 120), (second, 40)):
        assert megabytes * MB < held.anonymous < (megabytes + 40) * MB  # Python itself takes some
        assert held.anonymous <= held.charged <= group.limit


def test_what_is_left_in_it_goes_with_it() -> None:
    try:
        group = make_group(200 * MB)
    except MachineError as error:
        pytest.skip(error.problem)
    with group:
        process = fill(group, 10, 600.0)
        while process.pid not in group.members():
            time.sleep(0.01)
    assert process.wait() == -9 and not group.folder.exists()


def test_where_none_can_be_made_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that may not change its groups, and on a system without any."""
    (tmp_path / "membership").write_text("0::/\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "membership")
    with pytest.raises(MachineError, match="hands no memory limits on"):
        make_group(MB)
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "none")
    with pytest.raises(MachineError, match="this system has none"):
        make_group(MB)


def test_version_2_is_limited_by_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain files in the place of Linux's: which are written and read. The kernel's part is not tried by this."""
    (tmp_path / "membership").write_text("0::/mine\n")
    (tmp_path / "mine").mkdir()
    for folder, names in ((tmp_path, "cpu memory"), (tmp_path / "mine", "")):
        (folder / "cgroup.subtree_control").write_text(f"{names}\n")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "membership")
    made = make_group(100 * MB)
    assert made.folder.parent == tmp_path and (made.folder / "memory.max").read_text() == str(100 * MB)
    (made.folder / "memory.stat").write_text("anon 70\nshmem 5\nfile 900\n")
    (made.folder / "memory.current").write_text("1000\n")
    (made.folder / "memory.events").write_text("oom 2\noom_kill 1\n")
    (made.folder / "memory.peak").write_text("2000\n")
    assert made.kills() == 1
    with made.watched() as held:
        pass
    assert (held.anonymous, held.charged) == (75, 1000)
