"""Limits of control groups, from files like those that Linux shows; and a real one, where it can be made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from environments.cgroup import make_group
from nbtools.errors import MachineError
from nbtools.system import cgroup

NO_LIMIT = 9_223_372_036_854_771_712  # as version 1 writes it


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /sys/fs/cgroup and an empty /proc/self/cgroup."""
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "root")
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "membership")
    (tmp_path / "root").mkdir()
    return tmp_path


def group(folder: Path, limit: object, used: int = 1_000, version: int = 2) -> None:
    names = {2: ("memory.max", "memory.current", ""), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")}[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    mapped = "total_mapped_file" if version == 1 else "file_mapped"
    (folder / "memory.stat").write_text(f"anon 70\n{names[2]}active_file 30\n{names[2]}inactive_file 10\n{mapped} 10\n")


def test_without_control_groups_there_is_no_limit(system: Path) -> None:
    assert (cgroup.memory_limit(), cgroup.memory_left(), cgroup.processor_share()) == (None, None, None)
    (system / "membership").write_text("0::/\n")  # the root of version 2 has no files for memory
    assert (cgroup.memory_limit(), cgroup.memory_left(), cgroup.processor_share()) == (None, None, None)


@pytest.mark.parametrize(("limit", "used", "expected"), [("max", 100, (None, None)), (5_000, 1_000, (5_000, 4_030)), (500, 900, (500, 0))])
def test_a_container_that_sees_its_group_as_the_root(system: Path, limit: object, used: int, expected: tuple) -> None:
    (system / "membership").write_text("0::/\n")
    group(system / "root", limit, used)
    assert (cgroup.memory_limit(), cgroup.memory_left()) == expected


def test_the_own_group_counts_and_so_does_each_around_it(system: Path) -> None:
    """A limit below the root was overlooked: under systemd or SLURM the root has none."""
    (system / "membership").write_text("0::/slurm/job/step\n")
    group(system / "root" / "slurm" / "job" / "step", "max", 300)
    group(system / "root" / "slurm" / "job", 6_000, 500)
    group(system / "root" / "slurm", 9_000, 8_900)
    group(system / "root" / "other", 10, 1)
    assert (cgroup.memory_limit(), cgroup.memory_left()) == (6_000, 130)


def test_a_membership_that_the_host_sees_and_the_container_does_not(system: Path) -> None:
    (system / "membership").write_text("4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n0::/\n")
    group(system / "root" / "memory", 5_000, version=1)
    assert (cgroup.memory_limit(), cgroup.memory_left()) == (5_000, 4_030)
    (system / "membership").write_text("0::/../../elsewhere\n")
    group(system / "root", 7_000)
    group(system / "root" / "elsewhere", 10)
    assert cgroup.memory_limit() == 7_000


def test_version_1_beside_version_2(system: Path) -> None:
    (system / "membership").write_text("4:memory:/mine\n0::/mine\n")
    group(system / "root" / "memory" / "mine", 5_000, version=1)
    group(system / "root" / "memory", NO_LIMIT, version=1)
    assert (cgroup.memory_limit(), cgroup.memory_left()) == (5_000, 4_030)
    group(system / "root" / "memory" / "mine", NO_LIMIT, version=1)
    assert cgroup.memory_limit() is None


def test_the_share_of_the_processors(system: Path) -> None:
    (system / "membership").write_text("0::/mine\n")
    mine = system / "root" / "mine"
    mine.mkdir()
    (mine / "cpu.max").write_text("250000 100000\n")
    assert cgroup.processor_share() == 2.5
    (mine / "cpu.max").write_text("max 100000\n")
    assert cgroup.processor_share() is None
    (system / "membership").write_text("2:cpu:/mine\n0::/\n")
    first = system / "root" / "cpu" / "mine"
    first.mkdir(parents=True)
    (first / "cpu.cfs_period_us").write_text("100000\n")
    (first / "cpu.cfs_quota_us").write_text("50000\n")
    assert cgroup.processor_share() == 0.5
    (first / "cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup.processor_share() is None


def test_a_real_limit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of a group that may hold 2 GB: what a notebook's kernel would be told."""
    monkeypatch.undo()
    code = "from nbtools.system import available_memory, total_memory; print(available_memory(), total_memory())"
    try:
        real = make_group(2 * 10**9)
    except MachineError as error:
        pytest.skip(error.problem)
    with real:
        done = subprocess.run([sys.executable, "-c", code], preexec_fn=real.enter, capture_output=True, text=True, check=True)
    free, total = map(int, done.stdout.split())
    assert 2 * 10**9 - 2**16 < total <= 2 * 10**9 and 10**9 < free < total
