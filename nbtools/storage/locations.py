"""Where the cache and the results of runs are stored."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
import tempfile
from pathlib import Path

import platformdirs

from nbtools.errors import MachineError
from nbtools.system.output import say


def usual_cache() -> Path:
    """The configured cache folder, whether or not it can be used: `NBTOOLS_CACHE`, else the operating system's folder for caches."""
    return Path(os.environ.get("NBTOOLS_CACHE") or platformdirs.user_cache_dir("nbtools-course", appauthor=False)).expanduser()


def cache_folder(*parts: str) -> Path:
    """A folder in the cache, created if needed, for what can be made again: fetched models, cleaned reviews, tokens.

    If the operating system's folder is not writable (a read-only home), a temporary folder is used, with a message. Raises MachineError
    if `NBTOOLS_CACHE` names a folder that is not writable.
    """
    folder = usual_cache().joinpath(*parts)
    if reason := _not_writable(folder):
        if os.environ.get("NBTOOLS_CACHE"):
            raise MachineError(f"The cache cannot be written to: {reason}.", "Set NBTOOLS_CACHE to a folder that you may write to.")
        folder = _temporary_cache(reason).joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(*parts: str) -> Path:
    """The path of one item in the cache: where it already exists, even if read-only, else where it can be created."""
    usual = usual_cache().joinpath(*parts)
    with contextlib.suppress(OSError):  # a folder that may not be searched
        if usual.exists():
            return usual
    return cache_folder(*parts[:-1]) / parts[-1]


def runs_folder() -> Path:
    """The folder for results of runs: `NBTOOLS_RUNS`, else `runs/` next to the course's `notebooks/`, else `runs/` in the working
    directory."""
    named = os.environ.get("NBTOOLS_RUNS")
    if named:
        return Path(named).expanduser().resolve()
    current = Path.cwd().resolve()
    for folder in (current, *current.parents):
        if (folder / "notebooks" / "00_setup.ipynb").is_file():
            return folder / "runs"
    return current / "runs"


def _not_writable(folder: Path) -> str:
    """Why nothing can be created in `folder`, which is created if it is missing; an empty string if it is writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder} ({error.strerror})"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} (read-only)"


@functools.cache
def _temporary_cache(reason: str) -> Path:
    """A temporary folder that only this user can write to; the same one in every process, unless somebody else has taken its name."""
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"nbtools-cache-{user or 0}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or (user is not None and (status.st_uid != user or status.st_mode & 0o022)):
        folder = Path(tempfile.mkdtemp(prefix="nbtools-cache-"))
    say(f"The cache cannot be written to: {reason}. Using {folder} instead; set NBTOOLS_CACHE to choose another folder.", file=sys.stderr)
    return folder
