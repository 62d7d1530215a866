"""Checking wheels, and finding the one that fits a machine."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from nbtools.errors import InputError
from tests.small_packages import write_wheel
from tools.bundle.targets import Target
from tools.bundle.wheels import Wheel, find_wheel, read_wheel

LINUX = Target("linux-x86_64", "3.11", native=False)
WINDOWS = Target("windows-x86_64", "3.11", native=False)


def read_all(*paths: Path) -> list[Wheel]:
    return [read_wheel(path) for path in paths]


@pytest.mark.parametrize(
    "name", ["../evil.py", "a/../../evil.py", "/etc/evil", "C:/evil.py", "C:evil.py", "..\\evil.py", "a\\..\\..\\evil"]
)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_unpacked(tmp_path: Path, name: str) -> None:
    wheel = write_wheel(tmp_path / "wheels", "bad", members=[name])
    with pytest.raises(InputError, match="leads out of its folder"):
        read_wheel(wheel)
    assert sorted(tmp_path.rglob("*evil*")) == []


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "bad")
    link = zipfile.ZipInfo("bad/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(InputError, match="leads out of its folder"):
        read_wheel(wheel)


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "good")
    whole = wheel.read_bytes()
    assert read_wheel(wheel).name == "good"
    for broken in (whole[: len(whole) // 2], whole.replace(b"version = '1.0'", b"version = '6.6'"), b""):
        wheel.write_bytes(broken)
        with pytest.raises(InputError, match=r"good-1\.0-py3-none-any\.whl is (damaged|not a valid wheel)"):
            read_wheel(wheel)


def test_a_name_that_is_no_wheels(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "good").rename(tmp_path / "good.whl")
    with pytest.raises(InputError, match="not a valid wheel"):
        read_wheel(wheel)


def test_the_most_specific_wheel_that_fits_the_machine_is_found(tmp_path: Path) -> None:
    wheels = read_all(
        write_wheel(tmp_path, "a", "1.0"), write_wheel(tmp_path, "a", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64"),
        write_wheel(tmp_path, "a", "1.0", tag="cp311-cp311-manylinux_2_34_x86_64"), write_wheel(tmp_path, "a", "1.0+cpu"),
        write_wheel(tmp_path, "a", "3.0", tag="py3-none-win_amd64"), write_wheel(tmp_path, "b", "9.0"),
    )  # fmt: skip

    def name(target: Target, version: str | None) -> str | None:
        found = find_wheel(wheels, "a", target, Version(version) if version else None)
        return found.path.name if found else None

    assert name(LINUX, "1.0") == "a-1.0-cp311-cp311-manylinux_2_17_x86_64.whl" and name(WINDOWS, "1.0") == "a-1.0-py3-none-any.whl"
    assert name(LINUX, "1.0+cpu") == name(LINUX, None) == "a-1.0+cpu-py3-none-any.whl"
    assert name(LINUX, "3.0") is None and name(WINDOWS, None) == "a-3.0-py3-none-win_amd64.whl"


def test_the_names_of_dependencies_are_read(tmp_path: Path) -> None:
    wheel = read_wheel(write_wheel(tmp_path, "top", requires=["Some.Name>=1", 'other; extra == "more"']))
    assert wheel.requires == {"some-name", "other"}
