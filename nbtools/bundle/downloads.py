"""Have pip bring or build wheels, with the person's own index, mirror, proxy and find-links in force, and say its failures in two lines."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from nbtools.bundle.targets import Target
from nbtools.errors import CourseError, MachineError, UnreachableError
from nbtools.runtime import index_unreachable, ran_out_of_disk, run_installer

# Packages on PyPI that publish their source alone. They hold no compiled code, so a wheel built here serves everywhere.
SOURCES = ("rouge-score",)


def download(requirements: Sequence[str], target: Target, place: Path, label: str, *, index: str | None = None) -> None:
    """Bring the wheels of `requirements` alone, not of what they need, into `place`.

    index  a package index to use in place of pip's own

    Raises UnreachableError (no index, or it has no such wheel) and MachineError (no pip, a full disk).
    """
    chosen = ["--index-url", index] if index else []
    _pip(["download", "--only-binary=:all:", *target.pip_options, *chosen], requirements, place, label, target.name)


def build(requirements: Sequence[str], place: Path, label: str) -> None:
    """Build wheels from source into `place`: a folder with a pyproject.toml, or a package that publishes no wheel."""
    _pip(["wheel"], requirements, place, label, "this machine")


def _pip(command: list[str], requirements: Sequence[str], place: Path, label: str, where: str) -> None:
    """Run pip in a child process, aside; what it brought is moved into `place` once pip has ended well."""
    # Not importlib.util.find_spec: see nbtools/models/wheel.py.
    if not PathFinder.find_spec("pip"):
        raise MachineError("This Python has no pip to download with.", f"Run: {sys.executable} -m ensurepip --upgrade")
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="download-") as name:
        aside = Path(name)
        wheels = aside / "wheels"
        options = ["--no-deps", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
        to = "--dest" if command[0] == "download" else "--wheel-dir"
        code, log = run_installer([sys.executable, "-m", "pip", *command, *options, to, str(wheels), *requirements], aside, label)
        if code:
            raise explain(log, where, place)
        for wheel in wheels.glob("*.whl"):
            wheel.replace(place / wheel.name)


def explain(log: str, where: str, place: Path) -> CourseError:
    """pip's failure as one line that says what is wrong and one that says what to do."""
    if ran_out_of_disk(log):
        return disk_full(place)
    if (found := re.search(r"No matching distribution found for (\S+)", log)) and not index_unreachable(log):
        return UnreachableError(
            f"The package index has no wheel of {found[1]} for {where}.",
            "`pip config list` shows which index pip is set to use. Where no such wheel exists, leave that platform or Python out.",
        )
    if index_unreachable(log):
        return UnreachableError(
            "The package index cannot be reached, so the wheels cannot be downloaded.",
            "Check the network, or PIP_INDEX_URL for a mirror; then run the same command: what is downloaded already is kept.",
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["no output"]
    return UnreachableError(f"pip could not bring the wheels: {errors[0]}", "Mend that, then run the same command: what is there is kept.")


def disk_full(place: Path) -> MachineError:
    return MachineError(f"The disk that holds {place} is full.", "Free some space, or name a folder on a larger disk with --out.")
