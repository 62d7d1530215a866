"""The checks that `nbtools doctor --offline` adds: everything that the chosen profiles need is on this machine."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nbtools.health import Check, Health, doctor
from nbtools.profiles import PROFILES, get_profile
from nbtools.storage.json_files import parse_json
from nbtools.storage.shapes import JsonError

DISTRIBUTION, EXTRA = "attention-to-finetuning", "lab"
REINSTALL = "Run the bundle's install script again."


def doctor_offline(profiles: Sequence[str], hub_secret: str = "HF_TOKEN") -> Health:
    """Run the checks of `nbtools.doctor` for the given profiles, and check that packages, models and reviews need no network.

    profiles    names of profiles
    hub_secret  the environment variable or Colab secret with the Hub token

    Each profile takes about ten seconds: its model and the reviews are used in a process without network access. HF_HUB_OFFLINE=1 must be
    set before the first import that reads it. Raises InputError for an unknown profile.
    """
    names = [get_profile(name).name for name in dict.fromkeys(profiles)]
    health = doctor(hub_secret)
    others = {f"profile {name}" for name in PROFILES if name not in names}
    checks = [check for check in health.checks if check.name not in others]
    return Health((*checks, examine_packages(), *(try_profile(name) for name in names)), health.versions)


def examine_packages() -> Check:
    """Check that everything that the notebooks and JupyterLab need is installed, in versions that fit each other."""
    name = "offline packages"
    try:
        count, problems = _check_requirements()
    except importlib.metadata.PackageNotFoundError:
        return Check(name, f"{DISTRIBUTION} is not installed", "fail", REINSTALL)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        return Check(name, f"not complete: {', '.join(problems[:5])}{more}", "fail", REINSTALL)
    return Check(name, f"all {count} that the notebooks and JupyterLab need are installed")


def _check_requirements() -> tuple[int, list[str]]:
    """The number of packages that are needed, and a message for each that is missing or has a wrong version."""
    waiting, seen, problems = [Requirement(f"{DISTRIBUTION}[{EXTRA}]")], set(), []
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if key[0] == DISTRIBUTION:
                raise
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, and {requirement.specifier} is needed")
        if key in seen:
            continue
        seen.add(key)
        for inner in map(Requirement, importlib.metadata.requires(requirement.name) or []):
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}):
                waiting.append(inner)
    return len({name for name, _ in seen}), sorted(set(problems))


def try_profile(profile: str) -> Check:
    """Check that the model and the reviews can be used in a process without network access; see `trial`."""
    name = f"offline {profile}"
    done = subprocess.run(
        [sys.executable, "-m", "nbtools.bundle.trial", profile], capture_output=True, encoding="utf8", errors="replace", check=False
    )
    try:
        found = parse_json(done.stdout.splitlines()[-1], {"asked": [str]})
    except (IndexError, JsonError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Check(name, f"could not be used: {last}", "fail", REINSTALL)
    if found["asked"]:
        return Check(
            name, f"asked the network for {', '.join(sorted(set(found['asked'])))}", "fail", "Something is missing here: see above."
        )
    if "problem" in found:
        return Check(name, found["problem"], "fail", found["remedy"])
    return Check(name, f"wrote {found['text']!r} and read {found['reviews']} reviews; nothing was asked of the network")
