"""`python -m nbtools.bundle.finish BUNDLE FOLDER`: the steps of install.py that follow the installation of the packages.

It copies notebooks and models, checks the result with `nbtools doctor --offline`, and writes a script that opens JupyterLab. An existing
notebook is never replaced.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from nbtools.bundle.install import BEGUN, DONE, InstallError, exit_code, read_manifest, read_sums
from nbtools.errors import CourseError


def finish(bundle: Path, folder: Path) -> int:
    """Complete the installation in `folder`, and return the exit code of `nbtools doctor --offline`."""
    manifest = read_manifest(bundle)
    print("[3/5] Notebooks", flush=True)
    for name in read_sums(bundle):
        if name.startswith("notebooks/"):
            copy_new(bundle / name, folder / name)
    print("[4/5] Models", flush=True)
    for name in manifest["models"]:
        place_model(bundle / "models" / name)
    print("[5/5] nbtools doctor --offline", flush=True)
    profiles = [word for name in manifest["profiles"] for word in ("--profile", name)]
    code = subprocess.run([sys.executable, "-m", "nbtools.cli", "doctor", "--offline", *profiles], cwd=folder, check=False).returncode
    if code == 0:
        command = write_start_script(folder)
        about = {"version": manifest["version"], "profiles": manifest["profiles"]}
        (folder / BEGUN).write_text(json.dumps(about) + "\n", encoding="utf8")
        (folder / BEGUN).replace(folder / DONE)
        print(f"\nReady. To open the notebooks:  {command}")
    return code


def copy_new(source: Path, target: Path) -> None:
    """Copy a file unless the target exists; an incomplete copy never has the target's name."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def place_model(source: Path) -> None:
    """Copy a model into the cache, where `load_model` looks for it, unless a complete copy is there.

    Raises InputError if something else has that path in the cache.
    """
    from nbtools.models.smollm2 import is_complete
    from nbtools.storage import atomic_folder, cached, destination
    from nbtools.storage.destinations import FETCHED

    folder = destination(cached("models", source.name), FETCHED, "NBTOOLS_CACHE")
    if is_complete(folder):
        print(f"Model {source.name} is there already: {folder}")
        return
    print(f"Model {source.name} goes to {folder}", flush=True)
    with atomic_folder(folder, "fetched") as new:
        shutil.copytree(source, new, copy_function=shutil.copyfile, dirs_exist_ok=True)


def write_start_script(folder: Path) -> str:
    """Write the script that opens the notebooks with the Hub switched off, and return the command to type."""
    if os.name == "nt":
        text = '@echo off\r\ncd /d "%~dp0"\r\nset HF_HUB_OFFLINE=1\r\n.venv\\Scripts\\jupyter-lab --notebook-dir=notebooks %*\r\n'
        name, command = "start.bat", f'"{folder}\\start.bat"'
    else:
        text = '#!/bin/sh\ncd "$(dirname "$0")" || exit\nHF_HUB_OFFLINE=1 exec .venv/bin/jupyter-lab --notebook-dir=notebooks "$@"\n'
        name, command = "start.sh", f"sh {shlex.quote(str(folder))}/start.sh"
    part = folder / f".{name}.part"
    part.write_bytes(text.encode())
    part.replace(folder / name)
    return command


if __name__ == "__main__":
    sys.exit(exit_code(lambda: finish(*map(Path, sys.argv[1:])), (CourseError, InstallError)))
