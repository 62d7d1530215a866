"""Environments with versions of a kind: resolved by uv, made apart from this one, and the suite run in them.

Each lies in `runs/.environments/NAME`, with the resolver's answer (`pins.txt`) and the log of every run beside it. torch is always the
build that this environment has: the oldest or newest plain one would bring several GB of CUDA, and says nothing about the processor.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

from environments.record import ROOT, Check, Record, read_records
from nbtools.errors import MachineError

PLACE = ROOT / "runs" / ".environments"
UV = [sys.executable, "-m", "uv"]
# Not run here: what needs a browser, what holds the benchmarks' stored pages, what holds constraints.txt to the versions installed, the
# README's commands, and what is marked slow: the notebooks, all of which are run, do the same at length.
LEFT_OUT = ["tests/browser", "tests/benchmarks", "tests/notebooks", "tests/test_packaging.py", "tests/test_readme.py"]
CALLED = "every function of transformers, datasets and papermill that the package calls is there"
SUITES = {
    "suite": (
        "the suite, but for slow tests, browser, benchmarks, README and pins",
        ["tests", "-m", "not slow and not long", *(f"--ignore={path}" for path in LEFT_OUT)],
    ),
    "notebooks": ("every notebook, once, through papermill", ["tests/notebooks/test_papermill.py", "tests/notebooks/test_nbval.py"]),
}
# A caller's own path would hide the packages that are to be tried.
APART = {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "NBTOOLS_PROGRESS": "0", "JUPYTER_PREFER_ENV_PATH": "1"}


def sources() -> list[str]:
    """uv's options for the places where pip is set to find packages beside the index, and for PyTorch's index in TORCH_INDEX."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, encoding="utf8", errors="replace", check=True
    ).stdout
    places = {place for found in re.findall(r"^[\w:]*\.find-links='(.*)'$", told, re.MULTILINE) for place in found.split()}
    options = [word for place in sorted(places) for word in ("--find-links", place)]
    if index := os.environ.get("TORCH_INDEX"):
        options += ["--index", index, "--index-strategy", "unsafe-best-match"]
    return options


def resolve(
    extras: Iterable[str], constraints: Iterable[str], *options: str, place: Path, beside: Iterable[str] = ()
) -> dict[str, str] | str:
    """The resolver's answer for the course, package -> version, without installing anything; its complaint where there is none.

    extras       of pyproject.toml; none: the core
    constraints  lines such as "torch==2.11.0"
    options      further ones of `uv pip compile`
    place        a folder for the lists
    beside       requirements apart from the project's own
    """
    place.mkdir(parents=True, exist_ok=True)
    for name, lines in {"beside.in": beside, "constraints.in": constraints}.items():
        (place / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    command = [*UV, "pip", "compile", "pyproject.toml", str(place / "beside.in"), "--constraint", str(place / "constraints.in")]
    command += [word for extra in extras for word in ("--extra", extra)]
    command += ["--no-config", "--quiet", "--no-header", "--no-annotate", *sources(), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf8", errors="replace", check=False)
    if done.returncode:
        return done.stderr.strip()
    pins = (line.partition("==") for line in done.stdout.splitlines() if "==" in line)
    return {name: pin.split(";")[0].strip() for name, _, pin in pins}


def read_pins(file: Path) -> dict[str, str]:
    """The lines "package==version" of a requirements file."""
    lines = (line.split("#")[0].strip().partition("==") for line in file.read_text(encoding="utf8").splitlines())
    return {package: pin for package, _, pin in lines if pin}


def installed_torch() -> str:
    """The torch that this environment has, as a constraint with its build."""
    return f"torch=={version('torch')}"


def make(name: str, pins: dict[str, str]) -> Path:
    """An environment with pip and exactly `pins`, made anew unless the last one had the same; its Python. Raises MachineError."""
    folder, wanted = PLACE / name / "env", PLACE / name / "pins.txt"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    text = "".join(f"{package}=={pin}\n" for package, pin in sorted(pins.items()))
    if python.is_file() and wanted.is_file() and wanted.read_text(encoding="utf8") == text:
        return python
    wanted.parent.mkdir(parents=True, exist_ok=True)
    (part := wanted.with_suffix(".part")).write_text(text, encoding="utf8")
    commands = [
        [*UV, "venv", "--clear", "--seed", "--no-config", "--quiet", "--python", sys.executable, str(folder)],
        [*UV, "pip", "install", "--no-config", "--quiet", "--python", str(python), "--no-deps", *sources(), "-r", str(part)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, encoding="utf8", errors="replace", check=False)
        if done.returncode:
            raise MachineError(f"{' '.join(command)} failed: {done.stderr.strip()[-1500:]}", "Look at the index and the free disk space.")
    part.replace(wanted)  # from here on the environment is whole
    return python


def installed(python: Path) -> dict[str, str]:
    """What is installed beside this Python, package -> version."""
    command = [*UV, "pip", "list", "--no-config", "--quiet", "--python", str(python), "--format", "json"]
    told = subprocess.run(command, capture_output=True, encoding="utf8", errors="replace", check=True).stdout
    return {entry["name"]: entry["version"] for entry in json.loads(told)}


def run_suite(record: Record, what: str, python: Path, words: Sequence[str], log: Path) -> None:
    """pytest with `words` in that environment, noted with its last line; what it printed goes to `log`."""
    done = record.run(what, [python, "-m", "pytest", *words], environment=APART)
    log.write_text(done.stdout + done.stderr, encoding="utf8")
    counts = re.findall(r"^=*\s*((?:\d+ \w+,? ?)+) in [\d.]+s", done.stdout, re.MULTILINE)
    record.checks[-1].detail = counts[-1] if counts else f"ended with {done.returncode}"


def check_versions(name: str, environment: str, resolution: str, parts: Sequence[str]) -> int:
    """Resolve, make the environment, and store versions, signatures and the suite's outcome; the exit code.

    resolution  uv's word: "lowest-direct" or "highest"
    parts       of "signatures", "suite" and "notebooks"; none: all. What else is recorded stays, and so do its versions: "signatures" alone
                is enough after a change of what the package calls, and takes a minute
    """
    record = Record(name, environment, f"python -m environments.{name}")
    start = time.monotonic()
    earlier = {one["name"]: one for one in read_records()}.get(name) if parts else None
    as_recorded = [f"{package}=={pin}" for package, pin in (earlier["versions"] if earlier else {}).items() if still_allowed(package, pin)]
    options = ["--resolution", resolution, "--python", sys.executable]
    pins = resolve(["dev"], [installed_torch(), *as_recorded], *options, place=PLACE / name)
    what = "every dependency with all extras of the tests can be had together"
    if isinstance(pins, str):
        print(pins)
        record.note(what, False, pins.splitlines()[-1][:200], time.monotonic() - start)
        return record.write()
    python, logs = make(name, pins), PLACE / name
    subprocess.run([*UV, "pip", "install", "--no-config", "--quiet", "--python", str(python), "--no-deps", "-e", str(ROOT)], check=True)
    record.versions = {package: pin for package, pin in sorted(installed(python).items()) if package in direct()}
    record.note(what, True, f"{len(pins)} packages; torch stays at {pins['torch']}, the installed build", time.monotonic() - start)
    if not parts or "signatures" in parts:
        target = ROOT / "environments" / "signatures" / f"{name}.json"
        record.run(CALLED, [python, "-m", "environments.signatures", target], environment=APART | {"PYTHONPATH": str(ROOT)})
    for part, (what, words) in SUITES.items():
        if not parts or part in parts:
            run_suite(record, what, python, words, logs / f"{part}.log")
    record.not_run("the live views in a browser", "they run with the versions of constraints.txt and with Colab's")
    if parts:
        keep_others(record)
    return record.write()


def keep_others(record: Record) -> None:
    """Add the checks that the stored record has and this one does not, in order; those of other versions are not kept."""
    done = {check.what: check for check in record.checks}
    others = {what: Check(what, "not run", f"python -m environments.{record.name} {part} does it") for part, (what, _) in SUITES.items()}
    stored = {one["name"]: one for one in read_records()}.get(record.name)
    if stored and stored["versions"] == record.versions:
        others |= {check["what"]: Check(**check) for check in stored["checks"]}
    record.checks = list((others | done).values())


def requirements() -> list[Requirement]:
    """What pyproject.toml names itself, in the core or in an extra, but for the extras of the package itself."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [one for one in map(Requirement, lines) if one.name != project["name"]]


def direct() -> set[str]:
    """The packages that pyproject.toml names itself, in the core or in an extra."""
    return {one.name for one in requirements()}


def still_allowed(package: str, version: str) -> bool:
    """Whether pyproject.toml still allows a recorded version. torch is always the installed build."""
    return package != "torch" and all(version in one.specifier for one in requirements() if one.name == package)
