"""The wheels that a bundle is made from: those that are there, and those that are built, resolved and downloaded."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from nbtools.bundle import check_bundle
from nbtools.bundle.install import SUMS
from nbtools.errors import InputError, MachineError
from nbtools.system import progress
from tools.bundle import downloads
from tools.bundle.resolving import add_hashes, resolve
from tools.bundle.targets import Target
from tools.bundle.wheels import Wheel, find_wheel, read_wheel

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTION, EXTRA = "attention-to-finetuning", "lab"
# Packages on PyPI that publish source only. They have no compiled code, so a wheel built here can be installed everywhere.
SOURCES = ("rouge-score",)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sources:
    """Where a bundle's packages come from.

    clone        the course's folder: its sources, notebooks and constraints.txt
    torch_index  the index of PyTorch for Linux, in place of pip's; None: pip's
    """

    clone: Path = ROOT
    torch_index: str | None = None

    @property
    def constraints(self) -> Path:
        return self.clone.resolve() / "constraints.txt"


class WheelPool:
    """The wheels in a folder, each checked once."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self.wheels: dict[Path, Wheel] = {}

    def open(self, out: Path) -> None:
        """Take the wheels of an interrupted call, and the intact ones of the earlier bundle `out`; a damaged one is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = [*self.folder.parent.glob("download-*"), *self.folder.parent.glob("resolve-*")]
        for leftover in [*unfinished, *out.parent.glob(f".{glob.escape(out.name)}.*.part")]:
            shutil.rmtree(leftover)
        if (out / SUMS).is_file():
            damaged = check_bundle(out)
            for line in damaged:
                self.say(f"In the existing bundle, {line}.")
            bad = {line.split(" ")[0] for line in damaged}
            for wheel in sorted((out / "wheels").glob("*.whl")):
                if f"wheels/{wheel.name}" not in bad and not (self.folder / wheel.name).exists():
                    link_or_copy(wheel, self.folder / wheel.name)
        for path in progress(sorted(self.folder.glob("*.whl")), "wheels checked", unit="wheel"):
            try:
                self.wheels[path] = read_wheel(path)
            except InputError as error:
                self.say(f"{error.problem} It is downloaded again.")
                path.unlink()

    def update(self) -> None:
        """Check the wheels that are new in the folder. Raises InputError for an unsafe one."""
        self.wheels |= {path: read_wheel(path) for path in sorted(self.folder.glob("*.whl")) if path not in self.wheels}

    def build_own(self, sources: Sources) -> Wheel:
        """The course's own wheel, which is always built again, because the clone may have changed."""
        for path in [path for path, wheel in self.wheels.items() if wheel.name == DISTRIBUTION]:
            del self.wheels[path]
            path.unlink()
        downloads.build(str(sources.clone.resolve()), sources.constraints, self.folder, "the course's own wheel")
        self.update()
        [own] = [wheel for wheel in self.wheels.values() if wheel.name == DISTRIBUTION]
        return own

    def complete(self, target: Target, own: Wheel, sources: Sources) -> list[Wheel]:
        """All wheels that `target` needs; those that are missing are downloaded."""
        constraints = sources.constraints.read_text(encoding="utf8").splitlines() + self._bring_special(target, own, sources)
        roots = [f"{DISTRIBUTION}[{EXTRA}] @ {own.path.as_uri()}", "pip"]
        pins = resolve(roots, constraints, target, self.folder, offline=True)
        if pins is None:
            self.say(f"{target.name}: resolving the versions.")
            pins = resolve(roots, constraints, target, self.folder) or []
        if missing := [pin for pin in pins if not self.find(pin.name, target, pin.version)]:
            self.say(f"{target.name}: {len(pins) + 1 - len(missing)} wheels are there, downloading {len(missing)} more.")
            downloads.download(add_hashes(missing, target, self.folder), target, self.folder)
            self.update()
        found = {pin.name: self.find(pin.name, target, pin.version) for pin in pins}
        if absent := [name for name, wheel in found.items() if not wheel]:
            raise MachineError(
                f"pip downloaded no wheel that fits {target.name} for: {', '.join(absent)}.", "Leave that platform or Python out."
            )
        self.say(f"{target.name}: all {len(found) + 1} wheels are there.")
        return [own, *(wheel for wheel in found.values() if wheel)]

    def find(self, name: str, target: Target, version: Version | None = None) -> Wheel | None:
        return find_wheel(self.wheels.values(), name, target, version)

    def _bring_special(self, target: Target, own: Wheel, sources: Sources) -> list[str]:
        """Bring the packages that pip's index does not have in the wanted form, and return constraints that choose them."""
        for name in SOURCES:
            if name in own.requires and not self.find(name, target):
                downloads.build(name, sources.constraints, self.folder, name)
        if sources.torch_index and "torch" in own.requires and target.platform.startswith("linux") and not self.find("torch", target):
            downloads.download_torch(sources.torch_index, target, sources.constraints, self.folder)
        self.update()
        torch = self.find("torch", target) if sources.torch_index else None
        return [f"torch=={torch.version}"] if torch and target.platform.startswith("linux") else []


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name where the file system can do that (a stick's cannot); else copy it. Neither is ever written to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
