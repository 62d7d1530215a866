"""Places on disk, and the one way this project writes: aside first, then renamed into place."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from nbtools.errors import MachineError, RunError
from nbtools.runtime.output import say, without_surrogates

if TYPE_CHECKING:
    from filelock import FileLock


def usual_cache() -> Path:
    """The folder of the cache: `NBTOOLS_CACHE`, else the place that the operating system names for caches."""
    return Path(os.environ.get("NBTOOLS_CACHE") or platformdirs.user_cache_dir("nbtools-course", appauthor=False)).expanduser()


MARK = ".nbtools.json"  # in a folder that `put_in_place` filled: what it is, and the SHA-256 of each file


def cache_folder(*parts: str) -> Path:
    """The folder for things that can be made again: fetched models, cleaned reviews, tokens.

    Where the system's place cannot be written to (a read-only home), a temporary folder with a message. Raises MachineError where
    `NBTOOLS_CACHE` names a folder that cannot be written to.
    """
    folder = usual_cache().joinpath(*parts)
    if trouble := _not_writable(folder):
        if os.environ.get("NBTOOLS_CACHE"):
            raise MachineError(f"The cache cannot be written to: {trouble}.", "Set NBTOOLS_CACHE to a folder that you may write to.")
        folder = _temporary_cache(trouble).joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(*parts: str) -> Path:
    """The place of one thing in the cache: where it lies already, be it read-only, else where it can be made."""
    usual = usual_cache().joinpath(*parts)
    with contextlib.suppress(OSError):  # a folder that may not even be looked into
        if usual.exists():
            return usual
    return cache_folder(*parts[:-1]) / parts[-1]


def _not_writable(folder: Path) -> str:
    """Why nothing can be made in `folder`, which is made if it is missing; an empty string where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder} ({error.strerror})"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} (read-only)"


@functools.cache
def _temporary_cache(trouble: str) -> Path:
    """A folder for temporary files that is this user's alone, the same one for every process where nobody else has taken its name."""
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"nbtools-cache-{user or 0}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or (user is not None and (about.st_uid != user or about.st_mode & 0o022)):
        folder = Path(tempfile.mkdtemp(prefix="nbtools-cache-"))
    say(f"The cache cannot be written to: {trouble}. Using {folder} instead; NBTOOLS_CACHE names another place.", file=sys.stderr)
    return folder


def runs_folder() -> Path:
    """The folder that holds what runs leave behind: `NBTOOLS_RUNS`, else `runs/` beside the course's `notebooks/`, else
    `runs/` in the current folder."""
    named = os.environ.get("NBTOOLS_RUNS")
    if named:
        return Path(named).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "00_setup.ipynb").is_file():
            return folder / "runs"
    return here / "runs"


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, with its line ends as they are, so that `path` holds either all of it or what it held before.

    For surrogates see `without_surrogates`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf8", newline="") as file:
            file.write(without_surrogates(text))
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner may read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def spreadsheet_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, for a CSV file whose texts come from elsewhere: "'=1+1" (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def set_aside(path: str | Path) -> Path | None:
    """Rename an existing folder to the first free `NAME-1`, `NAME-2`, … (a file: `STEM-1.EXT`) and return the new path; None if it was
    absent.

    Nothing a person made is deleted or overwritten by a later run.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return None
    stem, ending = (path.name, "") if path.is_dir() else (path.stem, path.suffix)
    number = 1
    while os.path.lexists(target := path.with_name(f"{stem}-{number}{ending}")):
        number += 1
    path.rename(target)
    return target


def try_lock(path: Path) -> FileLock | None:
    """The lock file `path`, held by this process until it is released; None where another process holds it.

    The system frees it however its holder ends.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


@contextmanager
def alone(lock: Path, problem: str, remedy: str) -> Iterator[None]:
    """Hold the lock file `lock`, which lets one process at a time do something.

    Raises RunError with `problem` and `remedy` where another process holds it.
    """
    if (held := try_lock(lock)) is None:
        raise RunError(problem, remedy)
    try:
        yield
    finally:
        held.release()


def disk_is_full(error: BaseException) -> bool:
    """Whether `error` says that the disk, or the user's share of it, is full; safetensors and torch say so without an errno."""
    said = (f"os error {errno.ENOSPC}", "iostream error", "inline_container", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in said)


@contextmanager
def put_in_place(folder: str | Path, made: str = "cache") -> Iterator[Path]:
    """Give a fresh folder to fill; on success it takes the name `folder`, on any error it is removed.

    made  what the folder is, written into it as a mark, with the SHA-256 of each of its files

    A `folder` that already exists is replaced only once the new one is complete. It is deleted if it holds nothing but what an earlier
    call wrote there; otherwise it is kept under another name.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        yield aside
        files = {path.relative_to(aside).as_posix(): sha256(path) for path in sorted(aside.rglob("*")) if path.is_file()}
        write_text(aside / MARK, json.dumps({"made": made, "files": files}, indent=1) + "\n")
        aside.chmod(0o777 & ~_umask())
        if not folder.exists():
            aside.replace(folder)
        elif _holds_other_files(folder):
            say(f"{folder.name} held files that were not written by this package, and is kept as {_exchange(aside, folder).name}.")
        else:
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
            folder.replace(old / folder.name)
            try:
                aside.replace(folder)
            except OSError:
                (old / folder.name).replace(folder)
                raise
            finally:
                shutil.rmtree(old)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content. A processor with instructions for it takes half a second per GB."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def made_as(folder: Path) -> str:
    """What `put_in_place` made `folder` as; "" for any other folder."""
    try:
        return str(json.loads((folder / MARK).read_text(encoding="utf8"))["made"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _holds_other_files(folder: Path) -> bool:
    """Whether `folder` holds a file that `put_in_place` did not write there, or one that was changed since."""
    try:
        written = dict(json.loads((folder / MARK).read_text(encoding="utf8"))["files"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        written = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or (path.is_file() and path != folder / MARK):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or name not in written or sha256(path) != written[name]:
                return True
    return False


def _exchange(aside: Path, folder: Path) -> Path:
    """Keep `folder` under another name, which is returned, and give its name to `aside`."""
    kept = set_aside(folder)
    assert kept is not None
    try:
        aside.replace(folder)
    except OSError:
        kept.replace(folder)
        raise
    return kept
