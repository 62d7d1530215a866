"""Wheels on disk: their name, version and tags, and whether the archive is intact."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from nbtools.bundle.install import unsafe_member
from nbtools.errors import InputError
from tools.bundle.targets import Target


@dataclass(frozen=True)
class Wheel:
    """A wheel that `read_wheel` has checked; `requires` holds the names of its direct dependencies, those of extras included."""

    path: Path
    name: NormalizedName
    version: Version
    tags: frozenset[Tag]
    requires: frozenset[NormalizedName]


def read_wheel(path: Path) -> Wheel:
    """Check a wheel without unpacking it.

    Raises InputError if the file name is not a wheel's, if the archive is damaged, or if a member would be unpacked outside of its folder
    (an absolute path, `..`, a drive, a link).
    """
    remedy = f"Remove {path} and run the command again, which downloads it anew."
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            unsafe = next(filter(None, map(unsafe_member, archive.infolist())), None)
            if unsafe is not None:
                raise InputError(f"{path.name} is refused: a name in it leads out of its folder ({unsafe!r}).", remedy)
            if (broken := archive.testzip()) is not None:
                raise InputError(f"{path.name} is damaged: {broken} in it cannot be read.", remedy)
            [metadata] = [member for member in archive.namelist() if member.count("/") == 1 and member.endswith(".dist-info/METADATA")]
            fields, _ = parse_email(archive.read(metadata))
        requires = map(Requirement, fields.get("requires_dist", []))
        return Wheel(path, name, version, tags, frozenset(canonicalize_name(requirement.name) for requirement in requires))
    except (InvalidWheelFilename, zipfile.BadZipFile, zlib.error, EOFError, ValueError, InvalidRequirement, NotImplementedError) as error:
        raise InputError(f"{path.name} is not a valid wheel: {error}", remedy) from error


def find_wheel(wheels: Iterable[Wheel], name: str, target: Target, version: Version | None = None) -> Wheel | None:
    """The wheel of `name`, in any version if None, that installers prefer on `target`; None if no wheel can be installed there."""
    fitting = [
        wheel for wheel in wheels if wheel.name == name and version in (None, wheel.version) and not wheel.tags.isdisjoint(target.tags)
    ]

    def preference(wheel: Wheel) -> tuple[Version, int, str]:
        """The newest version, then the most specific tag; then the file name, so that the choice is always the same."""
        return wheel.version, -min(target.tags[tag] for tag in wheel.tags & target.tags.keys()), wheel.path.name

    return max(fitting, key=preference, default=None)
