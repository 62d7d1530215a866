"""The kinds of machines that a bundle is made for: operating system, processor and Python."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from packaging import tags

from nbtools.bundle.install import this_target
from nbtools.errors import InputError

# glibc 2.28 is that of Debian 10, RHEL 8 and Ubuntu 20.04; macOS 14 is of 2023. PyTorch has no wheels for macOS on Intel.
GLIBC, MACOS = 28, (14, 0)
LEGACY = {17: "2014", 12: "2010", 5: "1"}  # manylinux_2_17 is also called manylinux2014, and so on
PLATFORMS = {  # the value is uv's name
    "linux-x86_64": f"x86_64-manylinux_2_{GLIBC}",
    "linux-aarch64": f"aarch64-manylinux_2_{GLIBC}",
    "macos-arm64": "aarch64-apple-darwin",
    "windows-x86_64": "x86_64-pc-windows-msvc",
}


@dataclass(frozen=True)
class Target:
    """One kind of machine.

    platform  a key of PLATFORMS; if native, any system
    python    major and minor version, such as "3.11"
    native    whether it is this machine with this Python
    """

    platform: str
    python: str
    native: bool

    @property
    def name(self) -> str:
        return f"{self.platform}-py{self.python}"

    @cached_property
    def tags(self) -> dict[tags.Tag, int]:
        """The tags of the wheels that can be installed there, with their rank: the most specific tag has rank 0."""
        version = tuple(map(int, self.python.split(".")))
        names = [] if self.native else self._platform_tags()
        found = tags.sys_tags() if self.native else (
            *tags.cpython_tags(version, platforms=names), *tags.compatible_tags(version, f"cp{self.python.replace('.', '')}", names),
        )  # fmt: skip
        return {tag: rank for rank, tag in reversed(list(enumerate(found)))}

    @property
    def pip_options(self) -> list[str]:
        """Options of `pip download`."""
        if self.native:
            return []
        named = [word for name in self._platform_tags() for word in ("--platform", name)]
        return [*named, "--python-version", self.python, "--implementation", "cp"]

    @property
    def uv_options(self) -> list[str]:
        """Options of `uv pip compile`."""
        if self.native:
            return ["--python", sys.executable]
        return ["--python", sys.executable, "--python-platform", PLATFORMS[self.platform], "--python-version", self.python]

    def _platform_tags(self) -> list[str]:
        """The platform's names in wheels, the newest first."""
        system, _, machine = self.platform.partition("-")
        if system == "windows":
            return ["win_amd64"]
        if system == "macos":
            return list(tags.mac_platforms(MACOS, machine))
        names = []
        for minor in range(GLIBC, 4, -1):
            names.append(f"manylinux_2_{minor}_{machine}")
            if minor in LEGACY:
                names.append(f"manylinux{LEGACY[minor]}_{machine}")
        return [*names, f"linux_{machine}"]


def choose_targets(platforms: Sequence[str] = (), pythons: Sequence[str] = ()) -> list[Target]:
    """Every platform with every Python, without duplicates; by default this machine with this Python.

    Raises InputError for an unknown platform or Python.
    """
    here, _, version = this_target().rpartition("-py")
    targets = []
    for name in dict.fromkeys(platforms or [here]):
        for python in dict.fromkeys(pythons or [version]):
            if not re.fullmatch(r"3\.(1[1-9]|[2-9]\d)", python):
                raise InputError(f"The course does not run on Python {python!r}.", "Name a version from 3.11 on, such as --python 3.12.")
            native = (name, python) == (here, version)
            if not native and name not in PLATFORMS:
                near = difflib.get_close_matches(name, PLATFORMS, n=1, cutoff=0.4)
                guess = f"Did you mean {near[0]}? " if near else ""
                raise InputError(f"There is no platform called {name!r}.", f"{guess}The platforms are: {', '.join(PLATFORMS)}.")
            targets.append(Target(name, python, native))
    return targets
