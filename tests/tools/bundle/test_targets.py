"""The machines that a bundle is made for."""

from __future__ import annotations

import sys

import pytest
from packaging.tags import parse_tag, sys_tags

from nbtools.bundle import install
from nbtools.errors import InputError
from tools.bundle.targets import PLATFORMS, Target, choose_targets


@pytest.mark.parametrize(
    ("platform", "fits", "does_not"),
    [
        ("linux-x86_64", ["manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_5_x86_64"], ["manylinux_2_34_x86_64", "win_amd64"]),
        ("linux-aarch64", ["manylinux_2_17_aarch64"], ["manylinux_2_17_x86_64", "macosx_11_0_arm64"]),
        ("macos-arm64", ["macosx_11_0_arm64", "macosx_14_0_arm64", "macosx_10_9_universal2"], ["macosx_15_0_arm64", "macosx_11_0_x86_64"]),
        ("windows-x86_64", ["win_amd64"], ["win32", "win_arm64", "manylinux2014_x86_64"]),
    ],
)
def test_wheels_fit_a_platform_by_their_tags(platform: str, fits: list[str], does_not: list[str]) -> None:
    target = Target(platform, "3.12", native=False)
    for name in fits:
        for tag in (f"cp312-cp312-{name}", f"cp38-abi3-{name}", f"py3-none-{name}"):
            assert parse_tag(tag) & target.tags.keys(), tag
    for name in does_not:
        assert not parse_tag(f"cp312-cp312-{name}") & target.tags.keys(), name
    assert parse_tag("py3-none-any") & target.tags.keys()
    assert not parse_tag(f"cp313-cp313-{fits[0]}") & target.tags.keys() and not parse_tag(f"cp311-cp311-{fits[0]}") & target.tags.keys()


def test_the_most_specific_tag_has_the_first_rank() -> None:
    ranks = Target("linux-x86_64", "3.12", native=False).tags
    names = ["cp312-cp312-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_17_x86_64", "cp312-abi3-manylinux_2_28_x86_64", "py3-none-any"]
    found = [ranks[next(iter(parse_tag(name)))] for name in names]
    assert found == sorted(found) and len(set(found)) == len(names)


def test_the_default_is_this_machine_with_the_tags_that_pip_uses() -> None:
    [target] = choose_targets()
    assert target.native and target.python == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert target.pip_options == [] and target.uv_options == ["--python", sys.executable]
    assert set(target.tags) == set(sys_tags())
    assert target.name == install.this_target()  # what is made here is what the installation looks for here


def test_the_names_that_the_installation_knows_are_these_platforms() -> None:
    known = {f"{system}-{machine}" for system in install.SYSTEMS.values() for machine in ("x86_64", "arm64", "aarch64")}
    assert set(PLATFORMS) <= known


def test_platforms_and_pythons_multiply_and_come_once() -> None:
    targets = choose_targets(["macos-arm64", "windows-x86_64", "macos-arm64"], ["3.11", "3.12"])
    assert [target.name for target in targets] == [
        "macos-arm64-py3.11", "macos-arm64-py3.12", "windows-x86_64-py3.11", "windows-x86_64-py3.12",
    ]  # fmt: skip
    assert "--platform win_amd64 --python-version 3.11" in " ".join(targets[2].pip_options)
    assert "--python-platform x86_64-pc-windows-msvc --python-version 3.11" in " ".join(targets[2].uv_options)


@pytest.mark.parametrize(
    ("platforms", "pythons", "words"),
    [
        (["windows"], [], "Did you mean windows-x86_64?"),
        (["amiga"], [], "no platform"),
        ([], ["3.9"], "3.11 on"),
        ([], ["3"], "does not run on Python"),
    ],
)
def test_an_unknown_one_is_named(platforms: list[str], pythons: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        choose_targets(platforms, pythons)
    assert words in str(caught.value)
