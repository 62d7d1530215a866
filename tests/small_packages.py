"""Small wheels, package indexes of them, and a small clone: pip and uv resolve, build and install them in a second."""

from __future__ import annotations

import ensurepip
import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import nbtools

PACKAGE = Path(nbtools.__file__).parent

# The clone's build backend: the wheel has the installer's last steps, and a command line that writes down how it was called.
BACKEND = """
import zipfile
from pathlib import Path

CLI = '''
import json, os, sys
from pathlib import Path
heard = {"arguments": sys.argv[1:], "offline": os.environ.get("HF_HUB_OFFLINE"), "pip": [n for n in os.environ if n.startswith("PIP_")]}
Path("called.json").write_text(json.dumps(heard))
sys.exit(int(os.environ.get("DOCTOR_SAYS", "0")))
'''

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "attention_to_finetuning-0.1.0-py3-none-any.whl"
    info = "attention_to_finetuning-0.1.0.dist-info"
    metadata = "Metadata-Version: 2.1\\nName: attention-to-finetuning\\nVersion: 0.1.0\\n" + Path("requires.txt").read_text()
    sources = Path("nbtools")
    files = {
        **{file.as_posix(): file.read_text() for file in sorted(sources.rglob("*.py"))},
        "nbtools/__init__.py": "", "nbtools/bundle/__init__.py": "", "nbtools/cli.py": CLI, f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "".join(f"{file},,\\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(zipfile.ZipInfo(file, (2026, 1, 1, 0, 0, 0)), text)
    return name
"""


def write_wheel(
    folder: Path, name: str, version: str = "1.0", requires: Sequence[str] = (), *, tag: str = "py3-none-any", members: Sequence[str] = ()
) -> Path:
    """A wheel with one module; `members` are further names in its archive."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {f"{name}/__init__.py": f"version = {version!r}\n", f"{info}/METADATA": metadata}
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"
    files |= dict.fromkeys(members, "out of place\n")
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(zipfile.ZipInfo(file, (2026, 1, 1, 0, 0, 0)), text)
    return path


def write_index(folder: Path) -> Path:
    """A folder of wheels: packages that need each other, one for Windows only, one for all other systems, and a real pip."""
    write_wheel(folder, "near", "1.5", ["deep>=2", 'windowsonly; sys_platform == "win32"', 'posixonly; os_name == "posix"'])
    write_wheel(folder, "near", "1.4")
    write_wheel(folder, "deep", "2.0")
    write_wheel(folder, "deep", "3.0")
    write_wheel(folder, "windowsonly", tag="py3-none-win_amd64")
    write_wheel(folder, "posixonly")
    write_wheel(folder, "unwanted")
    [pip] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    shutil.copy(pip, folder)
    return folder


def write_simple_index(folder: Path, wheels: Sequence[Path], *, hashes: bool = True) -> Path:
    """A package index of `wheels` as static pages (PEP 503), to be served by any HTTP server."""
    for wheel in wheels:
        name = wheel.name.partition("-")[0]
        page = folder / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheel, page.parent)
        fragment = f"#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}" if hashes else ""
        before = page.read_text() if page.exists() else "<!DOCTYPE html>\n"
        page.write_text(f'{before}<a href="{wheel.name}{fragment}">{wheel.name}</a>\n')
    return folder


def write_clone(folder: Path, requires: Sequence[str] = ("near",)) -> Path:
    """A clone that pip builds without downloading anything, with constraints and two notebooks."""
    (folder / "notebooks").mkdir(parents=True)
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(system)
    (folder / "backend.py").write_text(BACKEND)
    for name in ("errors.py", "bundle/finish.py", "bundle/install.py"):
        copy = folder / "nbtools" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, copy)
    lines = ["Provides-Extra: lab", *(f"Requires-Dist: {line}; extra == 'lab'" for line in requires)]
    (folder / "requires.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "constraints.txt").write_text("# tested\ndeep==2.0  # not the newest\nnear<2\n")
    for name in ("00_setup", "01_attention"):
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [], "metadata": {}}))
    (folder / "notebooks" / "my_own.ipynb").write_text("a learner's, not the course's")
    (folder / "notebooks" / "glossary.md").write_text("# Words\n")
    return folder
