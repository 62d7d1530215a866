"""For which machines a bundle is made: operating system, processor and Python, and which wheels and markers fit there.

pip evaluates a requirement's markers (`sys_platform == "win32"`) for the machine that it runs on, also where wheels of another platform
are asked for, so a bundle for Windows made on Linux would lack what only Windows needs. Markers are therefore evaluated here.
"""

from __future__ import annotations

import difflib
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nbtools.errors import InputError

if TYPE_CHECKING:
    from packaging.tags import Tag

# glibc 2.28 is that of Debian 10, RHEL 8 and Ubuntu 20.04; macOS 14 of 2023. PyTorch publishes nothing for macOS on Intel any more.
GLIBC, MACOS = 28, (14, 0)
OLDER_NAMES = {17: "2014", 12: "2010", 5: "1"}  # manylinux2014 is manylinux_2_17, and so on
PLATFORMS = {
    "linux-x86_64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"},
    "linux-aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64", "os_name": "posix"},
    "macos-arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"},
    "windows-x86_64": {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64", "os_name": "nt"},
}


@dataclass(frozen=True)
class Target:
    """One kind of machine.

    platform  a key of PLATFORMS, or what `this_platform` says of the machine that makes the bundle
    python    version with one dot, such as "3.11"
    native    whether it is this machine with this Python: pip then decides which wheels fit
    """

    platform: str
    python: str
    native: bool

    @property
    def name(self) -> str:
        return f"{self.platform}-py{self.python}"

    @cached_property
    def tags(self) -> frozenset[Tag]:
        """The tags of every wheel that can be installed there."""
        from packaging import tags

        if self.native:
            return frozenset(tags.sys_tags())
        version, names = self._version, self._platform_tags()
        return frozenset(
            [*tags.cpython_tags(version, platforms=names), *tags.compatible_tags(version, f"cp{version[0]}{version[1]}", names)]
        )

    @cached_property
    def markers(self) -> dict[str, str]:
        """The environment in which a requirement's marker is evaluated."""
        from packaging.markers import default_environment

        here = {name: str(value) for name, value in default_environment().items()}
        if self.native:
            return here
        unknown = {"platform_release": "", "platform_version": ""}
        return here | unknown | PLATFORMS[self.platform] | {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
        }  # fmt: skip

    @property
    def pip_options(self) -> list[str]:
        """What tells `pip download` to bring wheels for there and not for here."""
        if self.native:
            return []
        named = [word for name in self._platform_tags() for word in ("--platform", name)]
        return [*named, "--python-version", self.python, "--implementation", "cp"]

    @property
    def _version(self) -> tuple[int, int]:
        major, minor = self.python.split(".")
        return int(major), int(minor)

    def _platform_tags(self) -> list[str]:
        """The platform's names in wheels, the newest first."""
        from packaging import tags

        system, _, machine = self.platform.partition("-")
        if system == "windows":
            return ["win_amd64"]
        if system == "macos":
            return list(tags.mac_platforms(MACOS, machine))
        names = []
        for minor in range(GLIBC, 4, -1):
            names.append(f"manylinux_2_{minor}_{machine}")
            if minor in OLDER_NAMES:
                names.append(f"manylinux{OLDER_NAMES[minor]}_{machine}")
        return [*names, f"linux_{machine}"]


def this_platform() -> str:
    """The platform of this machine, in the form of PLATFORMS' keys."""
    for name, markers in PLATFORMS.items():
        if (markers["sys_platform"], markers["platform_machine"]) == (sys.platform, platform.machine()):
            return name
    return f"{platform.system()}-{platform.machine()}".lower()


def choose_targets(platforms: Sequence[str] = (), pythons: Sequence[str] = ()) -> list[Target]:
    """Every platform with every Python, each once; this machine's own where none is named. Raises InputError for an unknown one."""
    here, version = this_platform(), f"{sys.version_info[0]}.{sys.version_info[1]}"
    targets = []
    for name in dict.fromkeys(platforms or [here]):
        if name not in {*PLATFORMS, here}:
            near = difflib.get_close_matches(name, PLATFORMS, n=1, cutoff=0.4)
            guess = f"Did you mean {near[0]}? " if near else ""
            raise InputError(f"There is no platform called {name!r}.", f"{guess}The platforms are: {', '.join(PLATFORMS)}.")
        for python in dict.fromkeys(pythons or [version]):
            if not re.fullmatch(r"3\.(1[1-9]|[2-9]\d)", python):
                raise InputError(f"{python!r} is no Python that the course runs on.", "Name a version from 3.11 on, such as --python 3.12.")
            targets.append(Target(name, python, (name, python) == (here, version)))
    return targets
