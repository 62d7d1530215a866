"""Install the course from this folder, without a network. install.sh and install.bat run it; it is the same file in every bundle.

    python3 install.py [FOLDER]                            from a USB stick or a copy of the bundle
    python3 install.py --from http://HOST:8000 [FOLDER]    from a served bundle: only what this machine needs is downloaded

Every file is checked against SHA256SUMS, and every wheel is inspected before anything is unpacked. The wheels are then installed into
FOLDER/.venv by their checksums, with pip's index switched off, and `python -m nbtools.bundle.finish` completes the installation. The same
command continues an interrupted installation.

Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

DEFAULT_FOLDER = "attention-course"
SUMS, MANIFEST = "SHA256SUMS", "bundle.json"
BEGUN, DONE = ".installing", "installed.json"  # in FOLDER: an unfinished installation, and a finished one
BLOCK = 1 << 20  # bytes read at a time
MAX_MANIFEST = 10_000_000  # bytes; the manifest of ten targets has about 10 kB
SPARE = 200_000_000  # bytes of disk beyond the unpacked wheels and the models
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


def read_sums(bundle: Path) -> dict[str, str]:
    """The SHA-256 of each of a bundle's files by name. Raises InstallError if there is none, or a line that is not one of `sha256sum`."""
    try:
        lines = (bundle / SUMS).read_text(encoding="utf8").splitlines()
    except (OSError, ValueError) as error:
        raise InstallError(f"{bundle} is not a bundle of the course: {error}", "Name the folder that contains install.py.") from None
    sums = {}
    for line in lines:
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


def read_manifest(bundle: Path) -> dict:
    """The contents of bundle.json. Raises InstallError if it is missing or not a valid manifest."""
    try:
        with (bundle / MANIFEST).open("rb") as stream:
            manifest = json.loads(stream.read(MAX_MANIFEST).decode("utf-8-sig"))
        valid = (
            all(isinstance(manifest[name], kind) for name, kind in FIELDS.items())
            and all(isinstance(name, str) and safe_name(name) for name in [*manifest["models"], *manifest["profiles"]])
            and all(safe_name(target["requirements"]) and all(map(safe_name, target["wheels"])) for target in manifest["targets"].values())
            and all(type(size) is int for size in manifest["bytes"].values())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise InstallError(f"{MANIFEST} is missing or damaged.", "Copy the bundle again.")
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


def download(address: str, folder: Path) -> Path:
    """Download what this machine needs of a served bundle into FOLDER/.bundle and return it; files that are already complete are kept.

    Raises InstallError if the server does not answer, has no bundle, or has none for this machine.
    """
    address, bundle = address.rstrip("/"), folder / ".bundle"
    # A server in the local network is reached directly, whatever proxy is configured.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(name: str, progress: Progress | None = None) -> Path:
        file = bundle / name
        part = file.with_name(f"{file.name}.part")
        file.parent.mkdir(parents=True, exist_ok=True)
        with opener.open(f"{address}/{name}", timeout=30) as answer, part.open("wb") as output:
            while block := answer.read(BLOCK):
                output.write(block)
                if progress is not None:
                    progress.add(len(block))
        part.replace(file)
        return file

    try:
        opener.open(f"{address}/{SUMS}", timeout=30).close()  # before anything is made
        claim(folder)
        get(SUMS)
        sums = read_sums(bundle)
        if sha256(get(MANIFEST)) != sums.get(MANIFEST):
            raise InstallError(f"{MANIFEST} does not match {SUMS}.", "Ask the person who serves the bundle to run: sha256sum -c SHA256SUMS")
        manifest = read_manifest(bundle)
        wheels = {f"wheels/{name}" for name in choose_target(manifest)["wheels"]}
        wanted = {name: digest for name, digest in sums.items() if name in wheels or not name.startswith("wheels/")}
        missing = [name for name in wanted if not (bundle / name).is_file() or sha256(bundle / name) != wanted[name]]
        print(f"Downloading {len(missing)} of {len(wanted)} files from {address}.", flush=True)
        progress = Progress("downloaded", sum(manifest["bytes"].get(name, 0) for name in missing))
        for name in missing:
            get(name, progress)
        (bundle / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in wanted.items()), encoding="utf8")
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError) as error:
        raise InstallError(
            f"{address} does not give the bundle: {error}", "Check the address and the network, then run it again."
        ) from None
    return bundle


def claim(folder: Path) -> None:
    """Create `folder`, or continue an installation in it. Raises InstallError if it contains anything else."""
    ours = (folder / BEGUN).is_file() or (folder / DONE).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise InstallError(f"{folder} exists and holds other things.", f"Name a new folder: install.sh {DEFAULT_FOLDER}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).touch()


def install(bundle: Path, folder: Path) -> int:
    """Check every file, install the packages, and return the exit code of `nbtools.bundle.finish`."""
    sums, manifest = read_sums(bundle), read_manifest(bundle)
    target = choose_target(manifest)
    print(f"[1/5] Checking every file against {SUMS}", flush=True)
    if problems := check_files(bundle, sums):
        raise InstallError("\n".join([f"{len(problems)} of {len(sums)} files have changed.", *problems]), "Copy the bundle again.")
    models = sum((bundle / name).stat().st_size for name in sums if name.startswith("models/"))
    needed = unpacked_bytes(bundle, target["wheels"]) + models + SPARE
    claim(folder)
    free = shutil.disk_usage(folder).free
    if free < needed and not (folder / DONE).is_file():
        raise InstallError(
            f"{folder} needs {needed / 1e9:.1f} GB of disk; {free / 1e9:.1f} GB are free.", "Free some space, or name another folder."
        )
    venv = folder / ".venv"
    python = str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    print(f"[2/5] Installing {len(target['wheels'])} packages into {venv} (a few minutes)", flush=True)
    # Without pip's variables, so that no index, mirror or constraint changes what is installed.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") and name != "PYTHONPATH"}
    environment = {**kept, "PIP_CONFIG_FILE": os.devnull, "HF_HUB_OFFLINE": "1"}
    steps = []
    if not Path(python).exists():
        # pip is run from its wheel in the bundle, because a Python without ensurepip (Debian's) cannot install it.
        steps.append([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    pip = next(name for name in target["wheels"] if name.startswith("pip-"))
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-index", "--require-hashes"]
    sources = ["--find-links", str(bundle / "wheels"), "-r", str(bundle / target["requirements"])]
    steps.append([python, str(bundle / "wheels" / pip / "pip"), "install", *options, *sources])
    for step in steps:
        if code := subprocess.run(step, cwd=folder, env=environment).returncode:
            raise InstallError(f"This step ended with exit code {code}: {' '.join(step[:6])} …", "The lines above say why.")
    return subprocess.run([python, "-m", "nbtools.bundle.finish", str(bundle), str(folder)], cwd=folder, env=environment).returncode


def exit_code(step: Callable[[], int], problems: tuple[type[Exception], ...]) -> int:
    """Run a step and return its exit code. Exceptions of the kinds `problems` and the system's errors are printed without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # on Windows a path may contain characters that a redirected stream cannot encode
    try:
        return step()
    except problems as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"The system reported: {error}\n  -> Check the disk and the permissions there, then run the command again.", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the course from this folder, without a network.")
    parser.add_argument("folder", nargs="?", default=f"~/{DEFAULT_FOLDER}", help="where it goes (default: %(default)s)")
    parser.add_argument("--from", dest="address", metavar="URL", help="a bundle that somebody serves, such as http://192.168.1.10:8000")
    given = parser.parse_args()
    folder = Path(given.folder).expanduser().resolve()

    def step() -> int:
        bundle = download(given.address, folder) if given.address else Path(__file__).resolve().parent
        return install(bundle, folder)

    code = exit_code(step, (InstallError,))
    if code == 130:
        print("Stopped. The same command continues the installation.", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
