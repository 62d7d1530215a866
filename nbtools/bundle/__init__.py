"""The workshop's bundle: one folder from which the course is installed and run without a network; and the proof that it runs so."""

from nbtools.bundle.making import Made, check_bundle, make_bundle
from nbtools.bundle.offline import doctor_offline

__all__ = ["Made", "check_bundle", "doctor_offline", "make_bundle"]
