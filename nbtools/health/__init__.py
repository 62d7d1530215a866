"""`doctor()` checks whether this machine is ready for the course, and for which of its models.

Only the standard library is imported until a check needs more, because doctor must run where packages are missing or broken.
"""

from __future__ import annotations

from nbtools.health.checks import examine_machine, hub_state
from nbtools.health.ladder import examine_profiles
from nbtools.health.packages import examine_packages
from nbtools.health.report import Check, Health

__all__ = ["Check", "Health", "doctor"]


def doctor(hub_secret: str = "HF_TOKEN") -> Health:
    """Check this machine: host, packages, device, memory, disk, the Hub, and which profiles work here. Takes a few seconds.

    hub_secret  name of the Colab secret that holds the Hugging Face token. Only whether a token is set, and where, is reported.

    Never raises: anything missing or broken becomes a failed check with advice.
    """
    packages, versions = examine_packages()
    hub = hub_state()  # once, because it may wait for several seconds
    return Health((*packages, *examine_machine(hub, hub_secret), *examine_profiles(hub)), versions)
