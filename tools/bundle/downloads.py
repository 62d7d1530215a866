"""Download and build wheels with pip, with the person's own index, mirror, proxy and find-links, and explain its failures and uv's."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nbtools.errors import CourseError, MachineError, UnreachableError
from nbtools.storage import says_disk_full
from nbtools.system import index_unreachable, run_installer
from tools.bundle.pip_settings import check_pip
from tools.bundle.targets import Target

LONGEST = 600  # characters of uv's reasons that are quoted
LEAVE_OUT = "`pip config list` shows which index pip is set to use. Where no such wheel exists, leave that platform or Python out."


def download(lines: Sequence[str], target: Target, folder: Path) -> None:
    """Download the wheels of a requirements file, and none of their dependencies, into `folder`.

    lines  of the file, with the hashes that are known; pip refuses a file with another hash

    Raises UnreachableError (no index, or it has no such wheel) and MachineError (no pip, or a full disk).
    """
    # A folder of wheels (find-links) has no hashes, and pip demands them for all lines or for none.
    for group in ([line for line in lines if "--hash=" in line], [line for line in lines if "--hash=" not in line]):
        if group:
            _pip(["download", "--only-binary=:all:", *target.pip_options], group, folder, f"{len(group)} wheels", target.name)


def download_torch(index: str, target: Target, constraints: Path, folder: Path) -> None:
    """Download PyTorch into `folder` from a separate index, such as one with builds without CUDA. Raises the errors of `download`."""
    options = ["download", "--only-binary=:all:", *target.pip_options, "--index-url", index, "--constraint", str(constraints)]
    _pip(options, ["torch"], folder, "torch", target.name)


def build(requirement: str, constraints: Path, folder: Path, label: str) -> None:
    """Build a wheel from source into `folder`: of a project's folder, or of a package that publishes no wheel."""
    _pip(["wheel", "--constraint", str(constraints)], [requirement], folder, label, "this machine")


def _pip(command: list[str], lines: Sequence[str], folder: Path, label: str, where: str) -> None:
    """Run pip in a temporary folder; the wheels are moved into `folder` once pip has succeeded."""
    check_pip()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as name:
        temporary = Path(name)
        wheels, requirements = temporary / "wheels", temporary / "requirements.txt"
        requirements.write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
        options = ["--no-deps", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--requirement", str(requirements)]
        to = "--dest" if command[0] == "download" else "--wheel-dir"
        code, log = run_installer([sys.executable, "-m", "pip", *command, *options, to, str(wheels)], temporary, label)
        if code:
            raise explain(log, where, folder)
        for wheel in wheels.glob("*.whl"):
            wheel.replace(folder / wheel.name)


def explain(log: str, where: str, folder: Path) -> CourseError:
    """The error for a failure of pip or uv: one line says what is wrong, and one what to do."""
    if says_disk_full(log):
        return disk_full(folder)
    if index_unreachable(log):
        return UnreachableError(
            "The package index cannot be reached, so the wheels cannot be downloaded.",
            "Check the network, or PIP_INDEX_URL for a mirror; then run the same command: finished downloads are kept.",
        )
    if found := re.search(r"No matching distribution found for (\S+)", log):
        return UnreachableError(f"The package index has no wheel of {found[1]} for {where}.", LEAVE_OUT)
    if found := re.search(r"No solution found when resolving dependencies\S*\n(.*?)(?:hint:|$)", log, re.DOTALL):
        reasons = " ".join(re.sub("cause:|[╰─▶]", " ", found[1]).split())
        return UnreachableError(f"The package index has no wheels that fit together for {where}: {reasons[:LONGEST]}", LEAVE_OUT)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["no output"]
    return UnreachableError(f"The wheels could not be downloaded: {errors[0]}", "Correct that, then run the same command.")


def disk_full(folder: Path) -> MachineError:
    return MachineError(f"The disk that holds {folder} is full.", "Free some space, or name a folder on a larger disk with --out.")
