"""Making a workshop's bundle: one folder from which the course is installed without a network. `nbtools bundle` calls this in a clone."""

from tools.bundle.making import Made, make_bundle
from tools.bundle.pool import Sources
from tools.bundle.targets import choose_targets

__all__ = ["Made", "Sources", "choose_targets", "make_bundle"]
