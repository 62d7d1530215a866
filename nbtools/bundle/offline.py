"""What `nbtools doctor --offline` adds: everything that the chosen profiles need is on this disk, and nothing asks the network for more."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nbtools.health import Check, Health, doctor
from nbtools.profiles import PROFILES, get_profile
from nbtools.runtime.foreign import ForeignError, parse_json

DISTRIBUTION, EXTRA = "attention-to-finetuning", "lab"
REINSTALL = "Run the bundle's install script again."


def doctor_offline(profiles: Sequence[str], hub_secret: str = "HF_TOKEN") -> Health:
    """What `nbtools.doctor` finds, without the profiles that were not chosen; then one check of the packages, and one of every profile:
    its model and the reviews are used in a process that is refused the network.

    Takes about ten seconds a profile. The Hub has to be switched off (HF_HUB_OFFLINE=1) before anything asks whether it is. Raises
    InputError for an unknown profile.
    """
    names = [get_profile(name).name for name in dict.fromkeys(profiles)]
    health = doctor(hub_secret)
    beside = {f"profile {name}" for name in PROFILES if name not in names}
    checks = [check for check in health.checks if check.name not in beside]
    return Health((*checks, examine_packages(), *(try_profile(name) for name in names)), health.versions)


def examine_packages() -> Check:
    """Whether all that the notebooks and JupyterLab need is installed, level by level, with versions that fit each other."""
    name = "offline packages"
    try:
        seen, troubles = _walk()
    except importlib.metadata.PackageNotFoundError:
        return Check(name, f"{DISTRIBUTION} is not installed", "fail", REINSTALL)
    if troubles:
        more = f" and {len(troubles) - 5} more" if len(troubles) > 5 else ""
        return Check(name, f"not complete: {', '.join(troubles[:5])}{more}", "fail", REINSTALL)
    return Check(name, f"all {seen} that the notebooks and JupyterLab need are installed")


def _walk() -> tuple[int, list[str]]:
    """How many packages are needed, and what is wrong with them."""
    waiting, seen, troubles = [Requirement(f"{DISTRIBUTION}[{EXTRA}]")], set(), []
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if key[0] == DISTRIBUTION:
                raise
            troubles.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            troubles.append(f"{requirement.name} is {version}, and {requirement.specifier} is needed")
        if key in seen:
            continue
        seen.add(key)
        for inner in map(Requirement, importlib.metadata.requires(requirement.name) or []):
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}):
                waiting.append(inner)
    return len({name for name, _ in seen}), sorted(set(troubles))


def try_profile(profile: str) -> Check:
    """Use the model and the reviews in a process that is refused the network; see `trial`."""
    name = f"offline {profile}"
    done = subprocess.run(
        [sys.executable, "-m", "nbtools.bundle.trial", profile], capture_output=True, encoding="utf8", errors="replace", check=False
    )
    try:
        found = parse_json(done.stdout.splitlines()[-1], {"asked": [str]})
    except (IndexError, ForeignError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Check(name, f"could not be used: {last}", "fail", REINSTALL)
    if found["asked"]:
        return Check(
            name, f"asked the network for {', '.join(sorted(set(found['asked'])))}", "fail", "Something is not on this disk: see above."
        )
    if "problem" in found:
        return Check(name, found["problem"], "fail", found["remedy"])
    return Check(name, f"wrote {found['text']!r} and read {found['reviews']} reviews; nothing was asked of the network")
