"""Install a bundle's packages into FOLDER/.venv, then run the installed `nbtools.bundle.finish`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .files import MANIFEST, SUMS, InstallError, check_files, choose_target, read_manifest, read_sums, unpacked_bytes

DEFAULT_FOLDER = "attention-course"
BEGUN, DONE = ".installing", "installed.json"  # in FOLDER: an unfinished installation, and a finished one
SPARE = 200_000_000  # bytes of disk beyond the unpacked wheels and the models


def claim(folder: Path) -> None:
    """Create `folder`, or continue an installation in it. Raises InstallError if it contains anything else."""
    ours = (folder / BEGUN).is_file() or (folder / DONE).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise InstallError(f"{folder} exists and holds other things.", f"Name a new folder: install.sh {DEFAULT_FOLDER}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).touch()


def install(bundle: Path, folder: Path) -> int:
    """Check every file, install the packages, and return the exit code of `nbtools.bundle.finish`."""
    try:
        sums = read_sums((bundle / SUMS).read_text(encoding="utf8"))
        manifest = read_manifest(bundle / MANIFEST)
    except (OSError, ValueError) as error:
        raise InstallError(f"{bundle} is not a bundle of the course: {error}", "Run install.py in the bundle's folder.") from None
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
    print(f"[2/5] Installing {len(target['wheels'])} packages into {folder / '.venv'} (a few minutes)", flush=True)
    python = install_wheels(bundle, target, folder)
    return subprocess.run([str(python), "-m", "nbtools.bundle.finish", str(bundle), str(folder)], cwd=folder, env=environment()).returncode


def install_wheels(bundle: Path, target: dict, folder: Path) -> Path:
    """Make FOLDER/.venv, install the wheels into it by their checksums, and return its Python."""
    venv = folder / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        # pip is run from its wheel in the bundle, because a Python without ensurepip (Debian's) cannot install it.
        run([sys.executable, "-m", "venv", "--without-pip", str(venv)], folder)
    pip = next(name for name in target["wheels"] if name.startswith("pip-"))
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-index", "--require-hashes"]
    sources = ["--find-links", str(bundle / "wheels"), "-r", str(bundle / target["requirements"])]
    run([str(python), str(bundle / "wheels" / pip / "pip"), "install", *options, *sources], folder)
    return python


def run(command: list[str], folder: Path) -> None:
    """Run a command in `folder`. Raises InstallError if it fails."""
    done = subprocess.run(command, cwd=folder, env=environment())
    if done.returncode:
        raise InstallError(f"This step ended with exit code {done.returncode}: {' '.join(command[:6])} …", "The lines above say why.")


def environment() -> dict[str, str]:
    """This process's environment variables without pip's, so that no index, mirror or constraint changes what is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") and name != "PYTHONPATH"}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "HF_HUB_OFFLINE": "1"}
