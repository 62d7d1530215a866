"""Atomic writes: files and folders are completed under a temporary name, then renamed, so that no half-written one has a final name."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbtools.storage.json_files import read_object
from nbtools.system.output import say, without_surrogates

MARK = ".nbtools.json"  # in a folder that `atomic_folder` wrote: its kind, and the SHA-256 of each file


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 file, so that `path` holds either all of `text` or its earlier content.

    Line ends are kept. Surrogates, which UTF-8 cannot hold, are replaced (`without_surrogates`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with temporary.open("x", encoding="utf8", newline="") as file:
            file.write(without_surrogates(text))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def replace_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file; an earlier file with different content is kept as NAME-1, NAME-2, …, with a message."""
    if path.is_file():
        if path.read_bytes() == text.encode("utf8"):
            return path
        say(f"The earlier {path.name} is kept as {_rename_to_backup(path).name}.")
    return write_text(path, text)


def keep_backup(path: str | Path) -> Path | None:
    """Rename an existing folder to the first free `NAME-1`, `NAME-2`, … (a file to `STEM-1.EXT`, …), so that nothing overwrites it.

    Returns the new path, or None if there is nothing at `path`.
    """
    return _rename_to_backup(Path(path)) if os.path.lexists(path) else None


@contextmanager
def atomic_folder(folder: str | Path, made: str = "cache") -> Iterator[Path]:
    """Yield an empty temporary folder, which is renamed to `folder` on success and deleted on any error.

    made  the kind of the folder, written into it with the SHA-256 of each of its files

    An existing `folder` is replaced only once the new one is complete. It is deleted if it holds nothing but what an earlier call wrote;
    otherwise it is kept under another name.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder)
    temporary.mkdir()
    try:
        yield temporary
        files = {path.relative_to(temporary).as_posix(): sha256(path) for path in sorted(temporary.rglob("*")) if path.is_file()}
        write_text(temporary / MARK, json.dumps({"made": made, "files": files}, indent=1) + "\n")
        _move_to(folder, temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _move_to(folder: Path, temporary: Path) -> None:
    """Rename `temporary` to `folder`. An earlier folder keeps its name if that fails."""
    if not folder.exists():
        temporary.replace(folder)
        return
    if _holds_other_files(folder):
        earlier = _replace(folder, temporary, _rename_to_backup(folder))
        say(f"{folder.name} contained files that this package did not write, and is kept as {earlier.name}.")
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old") as parent:
        _replace(folder, temporary, folder.replace(Path(parent, folder.name)))


def _replace(folder: Path, temporary: Path, earlier: Path) -> Path:
    """Rename `temporary` to `folder`, or else `earlier` back to `folder`."""
    try:
        temporary.replace(folder)
    except OSError:
        earlier.replace(folder)
        raise
    return earlier


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. About 0.5 s per GB on a processor with SHA instructions."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def made_as(folder: Path) -> str:
    """The kind that `atomic_folder` wrote into `folder`; an empty string for any other folder."""
    return str(read_object(folder / MARK).get("made", ""))


def _holds_other_files(folder: Path) -> bool:
    """Whether `folder` contains a file that `atomic_folder` did not write, or one that has changed since."""
    written = read_object(folder / MARK).get("files")
    written = written if isinstance(written, dict) else {}
    for path in folder.rglob("*"):
        expected = written.get(path.relative_to(folder).as_posix())
        if path.is_symlink() or (path.is_file() and path != folder / MARK and (expected is None or sha256(path) != expected)):
            return True
    return False


def _rename_to_backup(path: Path) -> Path:
    stem, ending = (path.name, "") if path.is_dir() else (path.stem, path.suffix)
    number = 1
    while os.path.lexists(backup := path.with_name(f"{stem}-{number}{ending}")):
        number += 1
    return path.rename(backup)


def _temporary(path: Path) -> Path:
    """A free name next to `path`. Files and folders made by `tempfile` could be read by their owner alone."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
