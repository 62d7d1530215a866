"""`nbtools bundle --check`: whether a bundle's files are as they were made."""

from __future__ import annotations

from pathlib import Path

from nbtools.bundle.installer.files import SUMS, InstallError, check_files, read_sums
from nbtools.errors import InputError
from nbtools.storage import resolve_path


def check_bundle(folder: Path) -> list[str]:
    """One line for every file of the bundle that is missing or damaged. Raises InputError if `folder` is not a bundle."""
    folder = resolve_path(folder)
    try:
        sums = read_sums((folder / SUMS).read_text(encoding="utf8"))
    except OSError:
        raise InputError(f"{folder} is not a bundle: it has no {SUMS}.", "Make one: nbtools bundle --profile mini --out DIR") from None
    except InstallError as error:
        raise InputError(error.problem, error.remedy) from None
    return check_files(folder, sums)
