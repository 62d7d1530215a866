"""A workshop's bundle, from which the course is installed and run without a network: its installer, and the checks of bundle and result.

Bundles are made by `tools.bundle`, from a clone.
"""

from pathlib import Path

from nbtools.bundle.install import InstallError, check_files, read_sums
from nbtools.bundle.offline import doctor_offline
from nbtools.errors import InputError
from nbtools.storage import resolve_path

__all__ = ["check_bundle", "doctor_offline"]


def check_bundle(folder: Path) -> list[str]:
    """One line for every file of the bundle that is missing or damaged. Raises InputError if `folder` is not a bundle."""
    folder = resolve_path(folder)
    try:
        sums = read_sums(folder)
    except InstallError as error:
        raise InputError(error.problem, error.remedy) from None
    return check_files(folder, sums)
