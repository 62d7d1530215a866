"""Make `.venv` and install the course into it, for the Makefile: `python tools/make_venv.py EXTRA [--torch-index URL]`.

EXTRA is one of the optional dependencies in pyproject.toml (course, lab, dev, bench). An environment that was made in another folder, or
by a Python that no longer exists, is made again. If everything is installed already, pip is not called, so no network is needed. The last
step writes `.venv/installed-EXTRA`, which make compares with pyproject.toml and constraints.txt; after an interrupted installation it is
missing, and the next call continues.

Only the standard library is used: this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)
VENV = Path(".venv")  # relative to the working folder, which is the clone

# Run by the environment's Python. Prints the packages that are missing or have another version than the tested one.
MISSING = """
import sys, tomllib
from importlib import metadata
from pathlib import Path
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf8"))["project"]
pins = {}
for line in Path("constraints.txt").read_text(encoding="utf8").splitlines():
    if line := line.partition("#")[0].strip():
        pins[canonicalize_name(Requirement(line).name)] = Requirement(line).specifier

def check(line):
    requirement = Requirement(line)
    if requirement.marker and not requirement.marker.evaluate():
        return
    name = canonicalize_name(requirement.name)
    if name == project["name"]:
        for extra in requirement.extras:
            for inner in project["optional-dependencies"][extra]:
                check(inner)
        return
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        print(name)
        return
    wanted = requirement.specifier & pins.get(name, requirement.specifier)
    if not wanted.contains(version, prereleases=True):
        print(f"{name} {version}")

try:
    here = metadata.distribution(project["name"]).read_text("direct_url.json") or ""
except metadata.PackageNotFoundError:
    here = ""
if Path.cwd().as_uri() not in here:
    print(project["name"])
for line in project["dependencies"] + [f"{project['name']}[{sys.argv[1]}]"]:
    check(line)
"""


class SetupError(Exception):
    """What is wrong, and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  -> {remedy}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("extra")
    parser.add_argument("--torch-index", default="", metavar="URL")
    asked = parser.parse_args()
    try:
        check_folder()
        python = make_environment()
        if missing := find_missing(python, asked.extra):
            print(f"Installing into {VENV}: {', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}", flush=True)
            install(python, asked.extra, asked.torch_index)
        (VENV / f"installed-{asked.extra}").touch()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command continues the installation.", file=sys.stderr)
        return 130
    return 0


def check_folder() -> None:
    """Raise SetupError for a Python that is too old, and for a folder that is not a clone or cannot be written to."""
    if sys.version_info < OLDEST:
        raise SetupError(
            f"The course needs Python 3.11 or later, and {sys.executable} is {sys.version.split()[0]}.",
            "Install one (python.org has them), or name it: make course PYTHON=/path/to/python3.11",
        )
    if not (Path("pyproject.toml").is_file() and Path("constraints.txt").is_file()):
        raise SetupError(f"{Path.cwd()} is not a clone of the course.", "Change into the clone, and run make there.")
    if not os.access(VENV if VENV.exists() else ".", os.W_OK):
        raise SetupError(f"{Path.cwd()} cannot be written to.", "Copy the clone to a folder of yours, and run make there.")


def make_environment() -> Path:
    """The path of the environment's Python; an environment that is missing or does not work is made."""
    python = VENV / ("Scripts" if os.name == "nt" else "bin") / ("python.exe" if os.name == "nt" else "python")
    made = VENV / "made"
    if VENV.exists():
        if (problem := find_fault(python)) is None:
            made.touch()
            return python
        if not (made.is_file() or (VENV / "pyvenv.cfg").is_file()):
            raise SetupError(f"{VENV} exists, and is not a virtual environment.", "Rename or delete it, and run the same command again.")
        print(f"{VENV} {problem}; it is made again.", flush=True)
        shutil.rmtree(VENV)
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(f"{sys.executable} cannot make a virtual environment.", "On Debian or Ubuntu: sudo apt install python3-venv")
    made.touch()
    return python


def find_fault(python: Path) -> str | None:
    """Why an existing environment cannot be used; None if it can."""
    asks = f"import sys, pip; print(sys.prefix); sys.exit(3 if sys.version_info < {OLDEST} else 0)"
    try:
        done = subprocess.run([str(python), "-c", asks], capture_output=True, encoding="utf8", errors="replace", check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return "belongs to a Python that is no longer there"
    if done.returncode == 3:
        return "has a Python older than 3.11"
    if done.returncode:
        return "has no working pip"
    # Commands such as .venv/bin/jupyter hold the folder in which the environment was made.
    script = VENV / "bin" / "pip"
    if os.name != "nt" and script.is_file() and str(Path.cwd() / VENV) not in script.read_text(encoding="utf8", errors="replace")[:500]:
        return "was made in another folder"
    return None


def find_missing(python: Path, extra: str) -> list[str]:
    """The packages of `extra` that are not installed in the tested version; ["everything"] if that is unknown."""
    done = subprocess.run([str(python), "-c", MISSING, extra], capture_output=True, encoding="utf8", errors="replace", check=False)
    return done.stdout.splitlines() if done.returncode == 0 else ["everything"]


def install(python: Path, extra: str, torch_index: str) -> None:
    """Call pip. Raises SetupError if it fails; pip has then printed the reason."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    constrained = ["-c", "constraints.txt"]
    commands = [[*pip, "--no-deps", *constrained, "--index-url", torch_index, "torch"]] if torch_index else []
    commands.append([*pip, *constrained, "-e", f".[{extra}]"])
    if extra == "bench":  # bertviz needs boto3, which a head view never uses, and which would change urllib3
        commands.append([*pip, "--no-deps", *constrained, "bertviz"])
    for command in commands:
        if subprocess.run(command, check=False).returncode:
            raise SetupError(
                "pip could not install the course (its reason is above).",
                "Without a network: connect once, or use a workshop's bundle. Otherwise correct what pip names, and call make again.",
            )
    if extra == "bench" and subprocess.run([*pip, *constrained, "-e", ".[llama]"], check=False).returncode:
        print("llama.cpp does not install here: it is left out of the tables.")


if __name__ == "__main__":
    sys.exit(main())
