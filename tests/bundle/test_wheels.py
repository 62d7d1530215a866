"""Looking into wheels, and choosing those that make up an installation."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from nbtools.bundle.targets import Target
from nbtools.bundle.wheels import Wheel, read_pins, read_wheel, select
from nbtools.errors import InputError, MachineError
from tests.bundle.wheels_at_hand import write_wheel

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
        with pytest.raises(InputError, match=r"good-1\.0-py3-none-any\.whl is (damaged|no sound wheel)"):
            read_wheel(wheel)


def test_a_name_that_is_no_wheels(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "good").rename(tmp_path / "good.whl")
    with pytest.raises(InputError, match="no sound wheel"):
        read_wheel(wheel)


def test_what_is_needed_depends_on_the_target(tmp_path: Path) -> None:
    wheels = read_all(
        write_wheel(tmp_path, "top", requires=["mid[more]", 'extra_only; extra == "never"']),
        write_wheel(tmp_path, "mid", requires=['win; sys_platform == "win32"', 'nix; os_name == "posix"', 'added; extra == "more"']),
        write_wheel(tmp_path, "win"), write_wheel(tmp_path, "nix"), write_wheel(tmp_path, "added"), write_wheel(tmp_path, "other"),
    )  # fmt: skip
    assert set(select(["top"], wheels, LINUX, {}).wheels) == {"top", "mid", "nix", "added"}
    assert set(select(["top"], wheels, WINDOWS, {}).wheels) == {"top", "mid", "win", "added"}


def test_what_is_missing_is_said_with_the_versions_that_would_do(tmp_path: Path) -> None:
    wheels = read_all(write_wheel(tmp_path, "top", requires=["mid>=1,<3"]), write_wheel(tmp_path, "mid", "2.5"))
    selection = select(["top"], wheels, LINUX, {"mid": SpecifierSet("==2.0")})  # type: ignore[dict-item]
    assert set(selection.wheels) == {"top"}
    assert SpecifierSet(selection.missing["mid"].removeprefix("mid")) == SpecifierSet("==2.0,>=1,<3")  # type: ignore[index]


def test_the_newest_that_fits_the_machine_and_the_pins_is_taken(tmp_path: Path) -> None:
    wheels = read_all(
        write_wheel(tmp_path, "a", "1.0"), write_wheel(tmp_path, "a", "1.0+cpu"), write_wheel(tmp_path, "a", "2.0"),
        write_wheel(tmp_path, "a", "3.0", tag="py3-none-win_amd64"),
    )  # fmt: skip
    pins = {"a": SpecifierSet("==1.0")}
    assert str(select(["a"], wheels, LINUX, pins).wheels["a"].version) == "1.0+cpu"  # type: ignore[arg-type,index]
    assert str(select(["a"], wheels, LINUX, {}).wheels["a"].version) == "2.0"  # type: ignore[index]
    assert str(select(["a"], wheels, WINDOWS, {}).wheels["a"].version) == "3.0"  # type: ignore[index]


def test_wheels_that_cannot_be_had_together_are_an_error_that_says_who_asks(tmp_path: Path) -> None:
    wheels = read_all(
        write_wheel(tmp_path, "top", requires=["one", "low"]), write_wheel(tmp_path, "one", requires=["low>=2"]),
        write_wheel(tmp_path, "low"),
    )  # fmt: skip
    with pytest.raises(MachineError, match=r"low 1\.0 is here, but .*one 1\.0 needs >=2"):
        select(["top"], wheels, LINUX, {})


def test_pins_are_read_with_their_comments(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("# tested\n\nSome.Name==1.2  # why\nother>=3\n")
    assert read_pins(tmp_path / "constraints.txt") == {"some-name": SpecifierSet("==1.2"), "other": SpecifierSet(">=3")}
