"""Checks of Python and the packages: installed, tested and required versions, and whether each package can be imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

from nbtools.errors import one_line
from nbtools.health.report import REINSTALL, Check, guarded

DISTRIBUTION = "attention-to-finetuning"
MIN_PYTHON = (3, 11)
# {"python": …, "core": {name: version}, "optional": {name: version}}: the versions of constraints.txt, which is not installed.
TESTED = Path(__file__).parent.parent / "assets" / "tested.json"

Versions = dict[str, dict[str, str | None]]


def examine_packages() -> tuple[list[Check], Versions]:
    """Check Python and every package; return the checks and the table of versions."""
    tested = json.loads(TESTED.read_text(encoding="utf8"))
    required = required_versions()
    names = list(required or tested["core"])
    versions: Versions = {
        name: {
            "installed": installed_version(name),
            "tested": tested["core"].get(name) or tested["optional"].get(name),
            "required": (required or {}).get(name),
        }
        for name in [*names, *tested["optional"]]
    }
    checks = guarded("Python", lambda: [_python(tested["python"])])
    if required is None:
        checks.append(Check("nbtools", "runs from its folder without being installed", "warn", REINSTALL))
    checks += guarded("packages", lambda: _core(names, versions))
    checks += guarded("notebook tools", lambda: [_notebook_tools(versions)], "warn")
    checks += guarded("optional packages", lambda: [_optional(versions)], "warn")
    return checks, versions


def required_versions() -> dict[str, str | None] | None:
    """The packages that the course requires, each with its minimum version; None if nbtools is not installed."""
    try:
        from packaging.requirements import Requirement

        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except ImportError:  # packaging is missing, or (PackageNotFoundError) the distribution is
        return None
    minimum: dict[str, str | None] = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            minimum[requirement.name] = next((bound.version for bound in requirement.specifier if bound.operator == ">="), None)
    return minimum


def installed_version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python(tested: str) -> Check:
    value = f"{platform.python_version()} ({sys.executable})"
    # Not sys.version_info: a linter that knows the minimum version would remove the comparison.
    if tuple(map(int, platform.python_version_tuple()[:2])) < MIN_PYTHON:
        return Check("Python", value, "fail", f"The course needs Python 3.11 or newer; {tested} is what it is tested with.")
    if not platform.python_version().startswith(f"{tested}."):
        value += f"; tested with {tested}"
    return Check("Python", value)


def _core(names: list[str], versions: Versions) -> list[Check]:
    """One check for all packages that work, and one for each that does not."""
    checks, same, other = [], 0, []
    for name in names:
        found, tested, minimum = versions[name]["installed"], versions[name]["tested"], versions[name]["required"]
        if found is None:
            checks.append(Check(f"package {name}", "not installed", "fail", REINSTALL))
        elif minimum is not None and _older(found, minimum):
            checks.append(Check(f"package {name}", f"{found} is too old: {minimum} is needed", "fail", REINSTALL))
        elif error := _import_error(name):
            reinstall = f"Run: python -m pip install --force-reinstall {name}"
            checks.append(Check(f"package {name}", f"{found} is installed but cannot be imported ({error})", "fail", reinstall))
        elif found.split("+")[0] == tested:
            same += 1
        else:
            other.append(f"{name} {found} ({tested})" if tested else f"{name} {found}")
    others = f"; others, with the tested version: {', '.join(other)}" if other else ""
    return [Check("packages", f"{same} of {len(names)} as tested{others}"), *checks]


def _older(found: str, minimum: str) -> bool:
    from packaging.version import Version

    return Version(found) < Version(minimum)


def _import_error(name: str) -> str | None:
    """The error of importing the package, in one line, or None. The module has the package's name, with underscores."""
    try:
        importlib.import_module(name.replace("-", "_"))
    except Exception as error:  # a broken binary raises OSError, an incompatible dependency anything
        return one_line(error)
    return None


def _notebook_tools(versions: Versions) -> Check:
    missing = [name for name in ("papermill", "jupyterlab") if versions[name]["installed"] is None]
    if not missing:
        return Check("notebook tools", f"papermill {versions['papermill']['installed']}, jupyterlab {versions['jupyterlab']['installed']}")
    from nbtools.system.host import name_host

    advice = {
        "papermill": "`nbtools run` needs papermill: python -m pip install -e '.[run]'",
        "jupyterlab": "`make lab` needs JupyterLab: python -m pip install -e '.[lab]'",
    }[missing[0]]
    # Every other kind of host has its own notebook interface.
    harmless = missing == ["jupyterlab"] and name_host() != "local"
    return Check("notebook tools", f"{' and '.join(missing)} not installed", "ok" if harmless else "warn", "" if harmless else advice)


def _optional(versions: Versions) -> Check:
    purposes = {"gguf": "to fetch smollm2", "peft": "for LoRA"}
    words = [f"{name} {versions[name]['installed'] or f'not installed ({why})'}" for name, why in purposes.items()]
    absent = [name for name in purposes if versions[name]["installed"] is None]
    advice = f"If you need them: python -m pip install {' '.join(absent)}" if absent else ""
    return Check("optional packages", ", ".join(words), advice=advice)
