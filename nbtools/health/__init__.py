"""Is this machine ready for the course, and for which of its models? `doctor()` answers; the notebooks and `nbtools doctor` show it.

Nothing but the standard library is imported until a check needs it, because a missing or broken package is what doctor is for.
"""

from __future__ import annotations

from nbtools.health.checks import examine_machine, hub_state
from nbtools.health.ladder import examine_profiles
from nbtools.health.packages import examine_packages
from nbtools.health.report import Check, Health

__all__ = ["Check", "Health", "doctor"]


def doctor(hub_secret: str = "HF_TOKEN") -> Health:
    """Examine this machine: host, packages, device, memory, disk, the Hub, and which profiles work here. Takes seconds.

    hub_secret  the name of the Colab secret that holds a Hugging Face token, where it is not the usual one. Only whether a
                token is set, and where, is reported.

    Never raises for what it finds: whatever is missing or broken becomes a check that failed, with advice.
    """
    packages, versions = examine_packages()
    hub = hub_state()  # asked once: it may wait for seconds
    return Health((*packages, *examine_machine(hub, hub_secret), *examine_profiles(hub)), versions)
