"""Install the course from this folder, without a network. Run by install.sh and install.bat; this file is the same in every bundle.

    python3 install.py [FOLDER]                       from a stick or a copy of the bundle
    python3 install.py --from http://HOST:8000 [FOLDER]    from a bundle that somebody serves: only what this machine needs is fetched

It checks every file against SHA256SUMS, looks into every archive before anything is unpacked, makes FOLDER with an environment of its
own in FOLDER/.venv, installs the wheels by their checksums with pip's index switched off, puts notebooks and models in place, and ends
with `nbtools doctor --offline`. The same command again goes on where it was left; a notebook that is there already is never replaced.

Standard library only, and nothing of nbtools: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

SUMS, MANIFEST = "SHA256SUMS", "bundle.json"
DEFAULT_FOLDER = "attention-course"
BEGUN, DONE = ".installing", "installed.json"  # in FOLDER: an installation under way, and a finished one
SPARE = 200_000_000  # bytes of disk beyond what is unpacked
BLOCK = 1 << 20
MOST_MANIFEST = 10_000_000  # bytes; a bundle for ten targets has a thousandth
FIELDS = {"version": str, "targets": dict, "models": list, "profiles": list, "bytes": dict}
SYSTEMS = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
MACHINES = {"AMD64": "x86_64", "x86_64": "x86_64", "arm64": "arm64", "aarch64": "aarch64"}


class InstallError(Exception):
    """What is wrong, and what to do: one line each."""


def refuse(problem: str, remedy: str) -> InstallError:
    return InstallError(f"{problem}\n  -> {remedy}")


def unsafe_member(member: zipfile.ZipInfo) -> str | None:
    """The name of an archive's member where it leads out of the folder that it is unpacked into, or is a link; else None."""
    return member.filename if stat.S_ISLNK(member.external_attr >> 16) or not safe_name(member.filename) else None


def safe_name(name: str) -> bool:
    """Whether a relative name with forward slashes stays inside its folder, on every system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    inside = not (posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or ".." in windows.parts)
    return bool(name) and inside and "\\" not in name and "\0" not in name


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_sums(text: str) -> dict[str, str]:
    """Name -> SHA-256, from lines as `sha256sum` writes them."""
    sums = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not safe_name(name):
            raise refuse(f"{SUMS} holds a line that is no checksum: {line[:80]!r}", "Copy the bundle again.")
        sums[name] = digest
    return sums


class Meter:
    """A line now and then about work that takes longer than two seconds."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, max(total, 1), 0
        self.due = time.monotonic() + 2

    def add(self, count: int) -> None:
        self.done += count
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + 5
            print(f"  {self.label}: {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB", flush=True)


def check_files(bundle: Path, sums: dict[str, str]) -> list[str]:
    """A line for every file that is missing or is not what SHA256SUMS says; none where all is well."""
    present = {name: bundle / name for name in sums if (bundle / name).is_file()}
    meter = Meter("checked", sum(file.stat().st_size for file in present.values()))
    complaints = [f"{name} is missing" for name in sorted(sums.keys() - present.keys())]
    for name, file in sorted(present.items()):
        try:
            if sha256(file) != sums[name]:
                complaints.append(f"{name} is damaged: its SHA-256 is not the one in {SUMS}")
        except OSError as error:
            complaints.append(f"{name} cannot be read: {error}")
        meter.add(file.stat().st_size)
    return complaints


def this_target() -> str:
    system, machine = platform.system(), platform.machine()
    known = f"{SYSTEMS[system]}-{MACHINES[machine]}" if system in SYSTEMS and machine in MACHINES else f"{system}-{machine}".lower()
    return f"{known}-py{sys.version_info[0]}.{sys.version_info[1]}"


def read_manifest(place: Path) -> dict:
    """What bundle.json says. A stick may be damaged, and SHA256SUMS with it."""
    try:
        with place.open("rb") as file:
            manifest = json.loads(file.read(MOST_MANIFEST).decode("utf-8-sig"))
        sound = (
            all(isinstance(manifest[name], kind) for name, kind in FIELDS.items())
            and all(isinstance(name, str) and safe_name(name) for name in [*manifest["models"], *manifest["profiles"]])
            and all(safe_name(one["requirements"]) and all(map(safe_name, one["wheels"])) for one in manifest["targets"].values())
            and all(type(size) is int for size in manifest["bytes"].values())
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise refuse(f"{place.name} is damaged.", "Copy the bundle again.")
    return manifest


def choose_target(manifest: dict) -> dict:
    """What the bundle holds for this machine and this Python."""
    if this_target() not in manifest["targets"]:
        held = ", ".join(sorted(manifest["targets"]))
        raise refuse(f"This is {this_target()}, and the bundle is for {held}.", "Take that Python, or ask for a bundle with this one.")
    return manifest["targets"][this_target()]


def download(address: str, place: Path) -> Path:
    """Fetch what this machine needs of a served bundle into `place`, checked; what is there already is kept. Returns `place`."""
    address = address.rstrip("/")
    # A server in the room is asked directly, whatever proxy this machine is set to use.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(name: str, target: Path, meter: Meter | None = None) -> None:
        part = target.with_name(f"{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        with opener.open(f"{address}/{name}", timeout=30) as answer, part.open("wb") as output:
            while block := answer.read(BLOCK):
                output.write(block)
                if meter is not None:
                    meter.add(len(block))
        part.replace(target)

    try:
        get(SUMS, place / SUMS)
        sums = read_sums((place / SUMS).read_text(encoding="utf8"))
        get(MANIFEST, place / MANIFEST)
        if sha256(place / MANIFEST) != sums.get(MANIFEST):
            raise refuse(f"{MANIFEST} does not fit {SUMS}.", "Ask whoever serves the bundle to check it: sha256sum -c SHA256SUMS")
        manifest = read_manifest(place / MANIFEST)
        wheels = {f"wheels/{name}" for name in choose_target(manifest)["wheels"]}
        wanted = {name: digest for name, digest in sums.items() if name in wheels or not name.startswith("wheels/")}
        left = [name for name in wanted if not (place / name).is_file() or sha256(place / name) != wanted[name]]
        print(f"Fetching {len(left)} of {len(wanted)} files from {address}.", flush=True)
        meter = Meter("fetched", sum(manifest["bytes"].get(name, 0) for name in left))
        for name in left:
            get(name, place / name, meter)
        (place / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in wanted.items()), encoding="utf8")
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError) as error:
        raise refuse(f"{address} does not give the bundle: {error}", "Check the address and the network, then run it again.") from None
    return place


def unpacked_bytes(bundle: Path, wheels: list[str]) -> int:
    """Look into every wheel before any is unpacked; the bytes that they unpack to."""
    total = 0
    for name in wheels:
        try:
            with zipfile.ZipFile(bundle / "wheels" / name) as archive:
                for member in archive.infolist():
                    if unsafe_member(member):
                        raise refuse(f"{name} is refused: a name in it leads out of its folder.", "Do not use this bundle.")
                    total += member.file_size
        except zipfile.BadZipFile:
            raise refuse(f"{name} is no sound wheel.", "Copy the bundle again.") from None
    return total


def run(command: list[str], cwd: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=environment)
    if done.returncode:
        raise refuse(f"This step ended with exit code {done.returncode}: {' '.join(command[:6])} …", "Its own lines above say why.")


def apart() -> dict[str, str]:
    """This process's environment without pip's settings: no index, mirror or constraint of the machine may change what is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") and name != "PYTHONPATH"}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "HF_HUB_OFFLINE": "1"}


def install_wheels(bundle: Path, target: dict, folder: Path) -> Path:
    """Make FOLDER/.venv and install the wheels into it. Returns its Python."""
    environment = folder / ".venv"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        # pip comes out of its wheel in the bundle, so that a Python without ensurepip (Debian's) will do.
        run([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder, apart())
    pip = next(name for name in target["wheels"] if name.startswith("pip-"))
    run(
        [
            str(python), str(bundle / "wheels" / pip / "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-input",
            "--no-index", "--find-links", str(bundle / "wheels"), "--require-hashes", "-r", str(bundle / target["requirements"]),
        ],
        folder, apart(),
    )  # fmt: skip
    return python


def copy_new(source: Path, target: Path, meter: Meter | None = None) -> None:
    """Copy a file or a folder unless the name is taken; it gets its name only when it is whole."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, part, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, part)
    part.replace(target)


def put_by(place: Path) -> None:
    """Rename an earlier copy of a model to NAME-1, NAME-2, … Refuses a folder that is not one."""
    if not place.exists():
        return
    if not (place / "origin.json").is_file() and (not place.is_dir() or any(place.iterdir())):
        raise refuse(f"{place} exists and holds other things.", "Move it to another place, or set NBTOOLS_CACHE to another folder.")
    number = 1
    while (kept := place.with_name(f"{place.name}-{number}")).exists():
        number += 1
    place.rename(kept)
    print(f"An incomplete copy is kept as {kept.name}; it can be deleted.")


def put_models(bundle: Path, manifest: dict, python: Path, folder: Path) -> None:
    """Models go where the course looks for them: its cache. A copy that is not complete is renamed."""
    for name in manifest["models"]:
        code = (
            "import sys; from nbtools.runtime import cache_folder; from nbtools.models.smollm2 import is_complete; "
            "place = cache_folder('models') / sys.argv[1]; print(place); print(is_complete(place))"
        )
        said = subprocess.run(
            [str(python), "-c", code, name], cwd=folder, env={**apart(), "PYTHONIOENCODING": "utf8:surrogateescape"},
            capture_output=True, encoding="utf8", errors="surrogateescape",
        )  # fmt: skip
        if said.returncode:
            raise refuse(f"The installed course cannot name its cache: {said.stderr.strip()[-300:]}", "Run the installation again.")
        place, complete = said.stdout.splitlines()[-2:]
        if complete == "True":
            print(f"Model {name} is there already: {place}")
            continue
        print(f"Model {name} goes to {place}", flush=True)
        put_by(Path(place))
        copy_new(bundle / "models" / name, Path(place))


def start_script(folder: Path) -> str:
    """Write the command that opens the notebooks with the Hub switched off; the words to type."""
    if os.name == "nt":
        text = '@echo off\r\ncd /d "%~dp0"\r\nset HF_HUB_OFFLINE=1\r\n.venv\\Scripts\\jupyter-lab --notebook-dir=notebooks %*\r\n'
        name, words = "start.bat", f'"{folder}\\start.bat"'
    else:
        text = '#!/bin/sh\ncd "$(dirname "$0")" || exit\nHF_HUB_OFFLINE=1 exec .venv/bin/jupyter-lab --notebook-dir=notebooks "$@"\n'
        name, words = "start.sh", f"sh {shlex.quote(str(folder))}/start.sh"
    part = folder / f".{name}.part"
    part.write_bytes(text.encode())
    part.replace(folder / name)
    return words


def claim(folder: Path) -> None:
    """Make FOLDER, or go on in one of ours. Refuses a folder with anything else in it."""
    ours = (folder / BEGUN).is_file() or (folder / DONE).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise refuse(f"{folder} exists and holds other things.", f"Name a new folder: install.sh {DEFAULT_FOLDER}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).touch()


def install(bundle: Path, folder: Path) -> int:
    """The whole installation; the exit code of the last check."""
    try:
        sums = read_sums((bundle / SUMS).read_text(encoding="utf8"))
        manifest = read_manifest(bundle / MANIFEST)
    except (OSError, ValueError) as error:
        raise refuse(f"{bundle} is no bundle of the course: {error}", "Run install.py inside the bundle's folder.") from None
    target = choose_target(manifest)
    print("[1/5] Checking every file against SHA256SUMS", flush=True)
    complaints = check_files(bundle, sums)
    if complaints:
        raise refuse(
            "\n".join([f"{len(complaints)} of {len(sums)} files are not as they were made.", *complaints]), "Copy the bundle again."
        )
    models = sum((bundle / name).stat().st_size for name in sums if name.startswith("models/"))
    needed = unpacked_bytes(bundle, target["wheels"]) + models + SPARE
    claim(folder)
    free = shutil.disk_usage(folder).free
    if free < needed and not (folder / DONE).is_file():
        raise refuse(
            f"{folder} needs {needed / 1e9:.1f} GB of disk; {free / 1e9:.1f} GB are free.", "Free some space, or name another folder."
        )
    print(f"[2/5] Installing {len(target['wheels'])} packages into {folder / '.venv'} (a few minutes)", flush=True)
    python = install_wheels(bundle, target, folder)
    print("[3/5] Notebooks", flush=True)
    for name in sums:
        if name.startswith("notebooks/"):
            copy_new(bundle / name, folder / name)
    print("[4/5] Models", flush=True)
    put_models(bundle, manifest, python, folder)
    print("[5/5] nbtools doctor --offline", flush=True)
    profiles = [word for name in manifest["profiles"] for word in ("--profile", name)]
    code = subprocess.run([str(python), "-m", "nbtools.cli", "doctor", "--offline", *profiles], cwd=folder, env=apart()).returncode
    if code == 0:
        words = start_script(folder)
        about = {"version": manifest["version"], "profiles": manifest["profiles"]}
        (folder / BEGUN).write_text(json.dumps(about) + "\n", encoding="utf8")
        (folder / BEGUN).replace(folder / DONE)
        print(f"\nReady. To open the notebooks:  {words}")
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the course from this folder, without a network.")
    parser.add_argument("folder", nargs="?", default=f"~/{DEFAULT_FOLDER}", help=f"where it goes (default: ~/{DEFAULT_FOLDER})")
    parser.add_argument("--from", dest="address", metavar="URL", help="a bundle that somebody serves, such as http://192.168.1.10:8000")
    given = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what a redirect on Windows cannot encode
    folder = Path(given.folder).expanduser().resolve()
    try:
        if given.address:
            claim(folder)
            return install(download(given.address, folder / ".bundle"), folder)
        return install(Path(__file__).resolve().parent, folder)
    except InstallError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"The system refused: {error}\n  -> Check the disk and the rights there, then run the same command again.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
