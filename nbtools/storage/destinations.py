"""Paths that a user names for output: one check for all of them, before any work starts.

Only what this package wrote is ever replaced or renamed. Each kind of folder and file is recognized by its content; anything else with
that name is refused.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nbtools.errors import InputError
from nbtools.storage.atomic import made_as
from nbtools.storage.json_files import read_object

NAME_BYTES = 200  # file systems allow 255, and temporary names such as ".NAME.a1b2c3d4.part" are longer than the name


@dataclass(frozen=True)
class Kind:
    """A kind of output: a folder or file that this package writes where the user says."""

    name: str
    """For messages, such as "a saved model"."""
    is_made: Callable[[Path], bool]
    """Whether the folder or file at a path is of this kind."""
    is_file: bool = False
    """Whether it is a file rather than a folder."""
    stays: bool = False
    """Whether the folder is filled in place and never renamed, so that nothing is written next to it."""
    scraps: frozenset[str] = frozenset()
    """Names that an interrupted call can leave in a folder before its kind can be recognized."""
    weights: tuple[str, ...] = ()
    """Names of the folders in it that hold models and checkpoints."""


def _has(name: str, *keys: str) -> Callable[[Path], bool]:
    """A check that a folder contains the JSON file `name`, an object with at least these keys."""
    return lambda folder: set(keys) <= read_object(folder / name).keys()


def _is_model(folder: Path) -> bool:
    """Whether `save_model` wrote the folder; early versions left only the profile's name."""
    return made_as(folder) == "model" or ((folder / "profile.txt").is_file() and (folder / "config.json").is_file())


def _is_sweep(folder: Path) -> bool:
    """Whether the folder is a sweep's, even if `sweep.json` is damaged: the same command writes it again, and keeps finished runs."""
    record = read_object(folder / "sweep.json")
    return {"schema", "runs", "metric"} <= record.keys() or (
        not record and all((folder / name).exists() for name in ("sweep.json", "packages.txt", "runs"))
    )


MODEL = Kind("a saved model", _is_model)
FINETUNE = Kind(
    "a fine-tuning run",
    lambda folder: made_as(folder) == "finetune" or _has("plan.json", "choices", "learning_rate", "max_steps")(folder),
    weights=("model", "checkpoints"),
)
RUN = Kind("a run of notebooks", _has("status.json", "schema", "notebooks", "versions"))
SWEEP = Kind("a sweep", _is_sweep, stays=True, scraps=frozenset({".sweep.lock", "slurm", "packages.txt"}))
SITE = Kind("a site of the course", lambda folder: made_as(folder) == "site" or (folder / ".course-site").is_file())
BUNDLE = Kind("a bundle", _has("bundle.json", "course", "targets"))
FETCHED = Kind("a fetched model", lambda folder: made_as(folder) == "fetched" or (folder / "origin.json").is_file())
ANY_FOLDER = Kind("a folder", lambda folder: True)


def resolve_path(path: object) -> Path:
    """The absolute path that `path` names, with "~" and symbolic links resolved. Raises InputError for an invalid path."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise InputError(f"{path!r} is not a path.", "Give the path as text, such as 'runs/mine'.")
    if not os.fspath(path).strip():
        raise InputError("The path is empty.", "Give a name, such as 'runs/mine'.")
    try:
        return Path(path).expanduser().resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, an unknown user, a loop of links
        raise InputError(f"{os.fspath(path)!r} cannot be used as a path: {error}.", "Give another path.") from None


def destination(path: object, kind: Kind, option: str = "") -> Path:
    """Check that output of `kind` can be written to `path`, and return the path resolved. Nothing is created or changed.

    option  the option that the user gave the path as, such as "--out"; empty for a name that this package chose

    Raises InputError for the working directory, the home folder and their parents, for a name in use by anything but an empty folder or
    an earlier result of the same kind, and for a location that is not writable.
    """
    what = "file" if kind.is_file else "folder"
    given = f" as {option}" if option != what else ""
    remedy = f"Give another {what}{given}." if option else f"Move that {what} to another location, then try again."
    resolved = resolve_path(path)
    try:
        _check_protected(resolved, remedy)
        _check_replaceable(resolved, kind, remedy)
        check_writable(resolved if kind.stays else resolved.parent, remedy)
        if resolved.is_dir():
            check_writable(resolved, remedy)
    except OSError as error:
        raise InputError(f"{resolved} cannot be used: {error.strerror or error}.", remedy) from None
    return resolved


def check_writable(folder: Path, remedy: str) -> None:
    """Raise InputError if no file can be created in `folder`, or in its nearest parent that exists."""
    nearest = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not nearest.is_dir():
        raise InputError(f"{nearest} is not a folder.", remedy)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return
    except OSError as error:
        raise InputError(f"Nothing can be written in {nearest}: {error.strerror or error}.", remedy) from None


def _check_protected(path: Path, remedy: str) -> None:
    """Raise InputError for the working directory, the home folder, their parents, and for too long a name."""
    for name, folder in (("the working directory", Path.cwd().resolve()), ("the home folder", Path.home().resolve())):
        if path == folder:
            raise InputError(f"{path} is {name}.", remedy)
        if path in folder.parents:
            raise InputError(f"{path} is a folder above {name}.", remedy)
    if len(os.fsencode(path.name)) > NAME_BYTES:
        raise InputError(f"The name {path.name[:40]}… is too long.", remedy)


def _check_replaceable(path: Path, kind: Kind, remedy: str) -> None:
    """Raise InputError if there is anything at `path` but an empty folder or an earlier result of the same kind."""
    if not os.path.lexists(path):
        return
    if path.is_dir() == kind.is_file:
        raise InputError(f"{path} is a {'folder' if kind.is_file else 'file'}.", remedy)
    if kind.is_file:
        taken = not path.is_file() or not kind.is_made(path)
    elif not kind.stays and path.is_mount():
        raise InputError(f"{path} is a mounted disk, which cannot be replaced.", "Give a folder in it.")
    else:
        taken = not kind.is_made(path) and bool({entry.name for entry in path.iterdir()} - kind.scraps)
    if taken:
        raise InputError(f"{path} already exists and is not {kind.name}.", remedy)
