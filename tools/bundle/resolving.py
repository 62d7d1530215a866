"""Resolve the versions that a target needs, with uv: unlike pip, it evaluates markers (`sys_platform == "win32"`) for other platforms."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from packaging.version import Version

from nbtools.errors import MachineError
from tools.bundle.downloads import explain
from tools.bundle.pip_settings import read_pip_settings, uv_environment, uv_options
from tools.bundle.targets import MACOS, Target


@dataclass(frozen=True)
class Pin:
    """The version of a package that was chosen."""

    name: str
    version: Version


class UvError(Exception):
    """What uv printed when it failed."""


def resolve(roots: Sequence[str], constraints: Sequence[str], target: Target, wheels: Path, *, offline: bool = False) -> list[Pin] | None:
    """The versions of `roots` and of everything that they need on `target`; requirements that are local files are left out.

    roots        requirements, such as "pip" or "torch>=2.8"
    constraints  lines of a constraints file
    wheels       a folder of wheels that may be used in addition to pip's index
    offline      use nothing but `wheels`; None is returned if that is not enough

    Raises UnreachableError if they cannot be had, and MachineError if uv is missing.
    """
    settings = {"no-index": "1"} if offline else read_pip_settings()
    try:
        text = _compile(roots, constraints, target, wheels, settings, "--find-links", str(wheels))
    except UvError as error:
        if offline:
            return None
        raise explain(str(error), target.name, wheels) from None
    found = (line.partition("==") for line in text.splitlines() if not line.startswith("#"))
    return [Pin(name, Version(version)) for name, equal, version in found if equal]


def add_hashes(pins: Sequence[Pin], target: Target, wheels: Path) -> list[str]:
    """Lines of a requirements file, with hashes where the index has them. Raises UnreachableError if it does not have a version."""
    lines = [f"{pin.name}=={pin.version}" for pin in pins]
    try:
        text = _compile(lines, (), target, wheels, read_pip_settings(), "--no-deps", "--generate-hashes")
    except UvError as error:
        raise explain(str(error), target.name, wheels) from None
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if "==" in line]


def _compile(
    requirements: Sequence[str], constraints: Sequence[str], target: Target, wheels: Path, settings: dict[str, str], *options: str
) -> str:
    """The requirements file that `uv pip compile` writes. Its cache, for which it may unpack wheels, is a folder beside `wheels`."""
    if not PathFinder.find_spec("uv"):
        raise MachineError("uv, which resolves the packages of a bundle, is not installed.", f"Run: {sys.executable} -m pip install uv")
    with tempfile.TemporaryDirectory(dir=wheels.parent, prefix="resolve-") as name:
        folder = Path(name)
        for file, lines in {"requirements.in": requirements, "constraints.in": constraints}.items():
            (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "requirements.in", "--constraints", "constraints.in"]
        command += ["--output-file", "answer.txt", "--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet", "--no-config"]
        command += ["--cache-dir", str(wheels.parent / "uv"), *target.uv_options, *uv_options(settings), *options]
        environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "{}.{}".format(*MACOS)} | uv_environment(settings)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf8", errors="replace", check=False)
        if done.returncode:
            raise UvError(done.stdout + done.stderr)
        return (folder / "answer.txt").read_text(encoding="utf8")
