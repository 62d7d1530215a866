"""A workshop's bundle, from which the course is installed and run without a network: its installer, and the checks of bundle and result.

Bundles are made by `tools.bundle`, from a clone.
"""

from nbtools.bundle.checking import check_bundle
from nbtools.bundle.offline import doctor_offline

__all__ = ["check_bundle", "doctor_offline"]
