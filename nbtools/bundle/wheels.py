"""Wheels on disk: what each is and needs, whether its archive is sound, and which of them make up an installation.

Dependencies are walked level by level from the metadata of the wheels themselves, with the markers of the target (see `targets`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from nbtools.bundle.install import unsafe_member
from nbtools.bundle.targets import Target
from nbtools.errors import InputError, MachineError

Pins = Mapping[NormalizedName, SpecifierSet]


@dataclass(frozen=True)
class Wheel:
    """A wheel that was looked into: its archive is whole, and no name in it leads out of the folder that it is unpacked into."""

    path: Path
    name: NormalizedName
    version: Version
    tags: frozenset[Tag]
    requires: tuple[Requirement, ...]
    python: SpecifierSet


@dataclass
class Selection:
    """The wheels that a target needs, and what is not there: `missing` holds requirements in the form that pip takes."""

    wheels: dict[NormalizedName, Wheel] = field(default_factory=dict)
    missing: dict[NormalizedName, str] = field(default_factory=dict)


def read_wheel(path: Path) -> Wheel:
    """Look into a wheel without unpacking it. Raises InputError where its name is no wheel's, where it is damaged, or where a name in
    it leads elsewhere (an absolute path, `..`, a drive, a link)."""
    again = f"Remove {path} and run the command again; it is then brought anew."
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            bad = next(filter(None, map(unsafe_member, archive.infolist())), None)
            if bad is not None:
                raise InputError(f"{path.name} is refused: a name in it leads out of its folder ({bad!r}).", again)
            if (broken := archive.testzip()) is not None:
                raise InputError(f"{path.name} is damaged: {broken} in it cannot be read.", again)
            raw, _ = parse_email(archive.read(_metadata_member(archive, path)))
        requires = tuple(map(Requirement, raw.get("requires_dist", [])))
        python = SpecifierSet(raw.get("requires_python", ""))
    except (InvalidWheelFilename, zipfile.BadZipFile, zlib.error, EOFError, KeyError, InvalidRequirement, NotImplementedError) as error:
        raise InputError(f"{path.name} is no sound wheel: {error}", again) from error
    return Wheel(path, name, version, tags, requires, python)


def _metadata_member(archive: zipfile.ZipFile, path: Path) -> str:
    found = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
    if len(found) != 1:
        raise KeyError(f"{path.name} has {len(found)} METADATA files")
    return found[0]


def read_pins(constraints: Path) -> dict[NormalizedName, SpecifierSet]:
    """Name -> the versions that a constraints file allows."""
    pins = {}
    for line in constraints.read_text(encoding="utf8").splitlines():
        if text := line.partition("#")[0].strip():
            requirement = Requirement(text)
            pins[canonicalize_name(requirement.name)] = requirement.specifier
    return pins


def select(roots: Iterable[str], wheels: Iterable[Wheel], target: Target, pins: Pins) -> Selection:
    """The wheels that `roots` need on `target`, out of those at hand: for each name the newest that fits, is allowed by `pins`, and is
    asked for by all that were seen asking before. Raises MachineError where two of them cannot be had together."""
    at_hand: dict[NormalizedName, list[Wheel]] = defaultdict(list)
    for wheel in wheels:
        if wheel.tags & target.tags and wheel.python.contains(f"{target.python}.99"):
            at_hand[wheel.name].append(wheel)
    asked: dict[NormalizedName, SpecifierSet] = defaultdict(SpecifierSet)
    askers: dict[NormalizedName, list[str]] = defaultdict(list)
    found = Selection()
    seen: set[tuple[NormalizedName, frozenset[str]]] = set()
    waiting = [(Requirement(root), "the course") for root in roots]
    while waiting:
        requirement, asker = waiting.pop(0)
        name = canonicalize_name(requirement.name)
        asked[name] &= requirement.specifier
        askers[name].append(f"{asker} needs {requirement.specifier or 'any'}")
        extras = frozenset(requirement.extras)
        chosen = found.wheels.get(name) or _newest(at_hand[name], asked[name] & pins.get(name, SpecifierSet()))
        if chosen is None:
            found.missing[name] = f"{name}{asked[name] & pins.get(name, SpecifierSet())}"
            continue
        if not asked[name].contains(chosen.version, prereleases=True):
            raise MachineError(
                f"The wheels do not fit together on {target.name}: {name} {chosen.version} is here, but {'; '.join(askers[name])}.",
                "Make the bundle with the constraints.txt of an unchanged clone.",
            )
        found.wheels[name] = chosen
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for inner in chosen.requires:
            if inner.marker is None or any(inner.marker.evaluate({**target.markers, "extra": extra}) for extra in extras or {""}):
                waiting.append((inner, f"{name} {chosen.version}"))
    return found


def _newest(wheels: list[Wheel], allowed: SpecifierSet) -> Wheel | None:
    fitting = [wheel for wheel in wheels if allowed.contains(wheel.version, prereleases=True)]
    # Of one version the build with the more particular tag, and then the name, so that the choice is always the same.
    return max(fitting, key=lambda wheel: (wheel.version, -len(wheel.tags), wheel.path.name), default=None)
