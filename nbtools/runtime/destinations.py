"""Where a person asks that something be written: one check for every such path, made before any work starts.

Only what this package made is ever replaced or renamed. Each kind of folder and file is recognised by what the package itself writes
there; anything else that has the name is refused.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nbtools.errors import InputError
from nbtools.runtime.files import made_as, set_aside, write_text
from nbtools.runtime.foreign import read_object
from nbtools.runtime.output import say

NAME_BYTES = 200  # file systems allow 255, and names such as ".NAME.a1b2c3d4.part" are made of it


@dataclass(frozen=True)
class Kind:
    """A kind of folder or file that this package writes where a person says.

    name     in messages, such as "a saved model"
    is_made  whether what exists under a path is of this kind
    is_file  a file, not a folder
    stays    a folder that is filled where it is, and never renamed: nothing is written beside it
    scraps   names that an interrupted call can leave in a folder before the folder is recognised
    weights  names of the folders in it that hold models and checkpoints
    """

    name: str
    is_made: Callable[[Path], bool]
    is_file: bool = False
    stays: bool = False
    scraps: frozenset[str] = frozenset()
    weights: tuple[str, ...] = ()


def _has(name: str, *keys: str) -> Callable[[Path], bool]:
    """Recognises a folder by a JSON object that has at least these keys."""
    return lambda folder: set(keys) <= read_object(folder / name).keys()


def _is_model(folder: Path) -> bool:
    """Written by `save_model`; versions before the mark left only the name of the profile."""
    return made_as(folder) == "model" or ((folder / "profile.txt").is_file() and (folder / "config.json").is_file())


def _is_sweep(folder: Path) -> bool:
    """Also with a damaged record: the same command writes it again, and keeps the runs that are done."""
    record = read_object(folder / "sweep.json")
    return {"schema", "runs", "metric"} <= record.keys() or (
        not record and all((folder / name).exists() for name in ("sweep.json", "packages.txt", "runs"))
    )


MODEL = Kind("a saved model", _is_model)
FINETUNE = Kind(
    "a fine-tuning",
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
    """The absolute path that a person means, "~" and links followed. Raises InputError for what is no path."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise InputError(f"{path!r} is not a path.", "Give the path as text, such as 'runs/mine'.")
    if not os.fspath(path).strip():
        raise InputError("The path is empty.", "Give a name, such as 'runs/mine'.")
    try:
        return Path(path).expanduser().resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, an unknown user, links that lead to each other
        raise InputError(f"{os.fspath(path)!r} cannot be used as a path: {error}.", "Give another path.") from None


def destination(path: object, kind: Kind, option: str = "") -> Path:
    """Check `path`, where something of `kind` is to be written, and return it resolved. Nothing is created or changed.

    option  what the path was given as, such as "--out"; "" for a name that this package chose

    Raises InputError for the working directory, the home folder and all folders above them, for a name that is taken by anything but an
    empty folder or an earlier result of the same kind, and for a place where nothing can be written.
    """
    what = "file" if kind.is_file else "folder"
    given = f" as {option}" if option != what else ""
    remedy = f"Give another {what}{given}." if option else f"Move that {what} to another place, then try again."
    place = resolve_path(path)
    try:
        _refuse_protected(place, remedy)
        _refuse_foreign(place, kind, remedy)
        _check_writable(place, kind, remedy)
    except OSError as error:
        raise InputError(f"{place} cannot be used: {error.strerror or error}.", remedy) from None
    return place


def replace_text(path: Path, text: str) -> Path:
    """Write `text` to a checked destination; an earlier file with another content is kept as NAME-1, NAME-2, …"""
    if path.is_file():
        if path.read_bytes() == text.encode("utf8"):
            return path
        say(f"The earlier {path.name} is kept as {set_aside(path).name}.")  # type: ignore[union-attr]
    return write_text(path, text)


def check_writable(folder: Path, remedy: str) -> None:
    """Raise InputError where no file can be created in `folder`, or in the nearest folder above it that exists."""
    nearest = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not nearest.is_dir():
        raise InputError(f"{nearest} is not a folder.", remedy)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return
    except OSError as error:
        raise InputError(f"Nothing can be written in {nearest}: {error.strerror or error}.", remedy) from None


def _refuse_protected(place: Path, remedy: str) -> None:
    for name, folder in (("the working directory", Path.cwd().resolve()), ("the home folder", Path.home().resolve())):
        if place == folder:
            raise InputError(f"{place} is {name}.", remedy)
        if place in folder.parents:
            raise InputError(f"{place} is a folder above {name}.", remedy)
    if len(os.fsencode(place.name)) > NAME_BYTES:
        raise InputError(f"The name {place.name[:40]}… is too long.", remedy)


def _refuse_foreign(place: Path, kind: Kind, remedy: str) -> None:
    if not os.path.lexists(place):
        return
    if kind.is_file:
        if place.is_dir():
            raise InputError(f"{place} is a folder.", remedy)
        if not place.is_file() or not kind.is_made(place):
            raise InputError(f"{place} already exists and is not {kind.name}.", remedy)
        return
    if not place.is_dir():
        raise InputError(f"{place} is a file.", remedy)
    if not kind.stays and place.is_mount():
        raise InputError(f"{place} is a mounted disk, which cannot be replaced as a whole.", "Give a folder in it.")
    if not kind.is_made(place) and {one.name for one in place.iterdir()} - kind.scraps:
        raise InputError(f"{place} already exists and is not {kind.name}.", remedy)


def _check_writable(place: Path, kind: Kind, remedy: str) -> None:
    check_writable(place if kind.stays else place.parent, remedy)
    if place.is_dir():
        check_writable(place, remedy)
