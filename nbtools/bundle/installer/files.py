"""The files of a bundle: checksums, manifest, and the wheels for this machine."""

from __future__ import annotations

import hashlib
import json
import platform
import stat
import sys
import time
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

SUMS, MANIFEST = "SHA256SUMS", "bundle.json"
BLOCK = 1 << 20  # bytes read at a time
MAX_MANIFEST = 10_000_000  # bytes; the manifest of ten targets has about 10 kB
FIELDS = {"version": str, "targets": dict, "models": list, "profiles": list, "bytes": dict}
SYSTEMS = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
MACHINES = {"AMD64": "x86_64", "x86_64": "x86_64", "arm64": "arm64", "aarch64": "aarch64"}


class InstallError(Exception):
    """What is wrong, and what to do about it: one line each."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  -> {remedy}")
        self.problem, self.remedy = problem, remedy


class Progress:
    """Prints a line every few seconds about work that takes longer than two seconds.

    label  what is being done
    total  bytes
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.due = time.monotonic() + 2

    def add(self, count: int) -> None:
        self.done += count
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + 5
            print(f"  {self.label}: {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB", flush=True)


def safe_name(name: str) -> bool:
    """Whether a relative path with forward slashes stays inside its folder, on every system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    inside = not (posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or ".." in windows.parts)
    return bool(name) and inside and "\\" not in name and "\0" not in name


def unsafe_member(member: zipfile.ZipInfo) -> str | None:
    """The name of an archive member that is a link or would be unpacked outside of its folder, else None."""
    return member.filename if stat.S_ISLNK(member.external_attr >> 16) or not safe_name(member.filename) else None


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_sums(text: str) -> dict[str, str]:
    """Parse the output of `sha256sum` into a dictionary from file name to SHA-256. Raises InstallError for any other line."""
    sums = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not safe_name(name):
            raise InstallError(f"{SUMS} contains a line that is not a checksum: {line[:80]!r}", "Copy the bundle again.")
        sums[name] = digest
    return sums


def check_files(bundle: Path, sums: dict[str, str]) -> list[str]:
    """One line for every file that is missing or differs from its checksum."""
    present = {name: bundle / name for name in sums if (bundle / name).is_file()}
    progress = Progress("checked", sum(file.stat().st_size for file in present.values()))
    problems = [f"{name} is missing" for name in sorted(sums.keys() - present.keys())]
    for name, file in sorted(present.items()):
        try:
            if sha256(file) != sums[name]:
                problems.append(f"{name} is damaged: its SHA-256 is not the one in {SUMS}")
        except OSError as error:
            problems.append(f"{name} cannot be read: {error}")
        progress.add(file.stat().st_size)
    return problems


def read_manifest(file: Path) -> dict:
    """The contents of bundle.json. Raises InstallError if it is not a valid manifest."""
    try:
        with file.open("rb") as stream:
            manifest = json.loads(stream.read(MAX_MANIFEST).decode("utf-8-sig"))
        valid = (
            all(isinstance(manifest[name], kind) for name, kind in FIELDS.items())
            and all(isinstance(name, str) and safe_name(name) for name in [*manifest["models"], *manifest["profiles"]])
            and all(safe_name(target["requirements"]) and all(map(safe_name, target["wheels"])) for target in manifest["targets"].values())
            and all(type(size) is int for size in manifest["bytes"].values())
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise InstallError(f"{file.name} is damaged.", "Copy the bundle again.")
    return manifest


def this_target() -> str:
    """System, processor and Python of this machine, such as "linux-x86_64-py3.11"."""
    system, machine = platform.system(), platform.machine()
    known = f"{SYSTEMS[system]}-{MACHINES[machine]}" if system in SYSTEMS and machine in MACHINES else f"{system}-{machine}".lower()
    return f"{known}-py{sys.version_info[0]}.{sys.version_info[1]}"


def choose_target(manifest: dict) -> dict:
    """The requirements and wheels for this machine and this Python. Raises InstallError if the bundle has none."""
    if this_target() not in manifest["targets"]:
        available = ", ".join(sorted(manifest["targets"]))
        raise InstallError(
            f"This is {this_target()}, and the bundle is for {available}.", "Use such a Python, or ask for a bundle for this one."
        )
    return manifest["targets"][this_target()]


def unpacked_bytes(bundle: Path, wheels: list[str]) -> int:
    """The unpacked size of the wheels in bytes. Raises InstallError for a wheel that is damaged or would write outside of its folder."""
    total = 0
    for name in wheels:
        try:
            with zipfile.ZipFile(bundle / "wheels" / name) as archive:
                for member in archive.infolist():
                    if unsafe_member(member):
                        raise InstallError(f"{name} is refused: a name in it leads out of its folder.", "Do not use this bundle.")
                    total += member.file_size
        except zipfile.BadZipFile:
            raise InstallError(f"{name} is not a valid wheel.", "Copy the bundle again.") from None
    return total
