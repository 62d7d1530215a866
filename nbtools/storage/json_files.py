"""Read JSON from untrusted or damaged files: bounded in size and depth, and checked against a shape (`nbtools.storage.shapes`).

Whatever the shape, these are refused: files that are too large, nested too deeply or not in UTF-8, UTF-16 or UTF-32, objects with a
duplicate name, and integers too large for a float. A byte order mark is skipped, and half of a surrogate pair becomes U+FFFD. NaN and
Infinity, which Python writes although JSON does not have them, are accepted where the shape is `object`.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from nbtools.errors import CourseError, InputError
from nbtools.storage.shapes import MISSING, JsonError, Shape, fit
from nbtools.texts import repair

MOST_BYTES = 200_000_000  # ten times as much as a notebook with many pictures
MOST_DEPTH = 100  # nbformat and the standard library recurse; notebooks are nested less than 20 levels deep
MOST_DIGITS = 300  # a float holds 308


def read_json(
    path: str | Path,
    shape: Shape = object,
    remedy: str = "Get the file again, or delete it.",
    error: type[CourseError] = InputError,
    most_bytes: int = MOST_BYTES,
    absent: Any = MISSING,
) -> Any:
    """The content of a JSON file, with the defaults of `shape` filled in.

    remedy      what to do about a file that cannot be read
    error       the class of the error to raise
    most_bytes  the largest size of file to read
    absent      what to return if there is no file; without it, that is an error

    Raises `error`, whose problem begins with the path, if the file cannot be read or does not have the shape.
    """
    try:
        return parse_json(_read_bytes(Path(path), most_bytes), shape)
    except FileNotFoundError:
        if absent is not MISSING:
            return absent
        raise error(f"{path} is missing.", remedy) from None
    except (OSError, ValueError) as why:  # ValueError: an impossible path
        raise error(f"{path} cannot be read: {_reason(why)}.", remedy) from None


def read_object(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if the file cannot be read."""
    try:
        return dict(read_json(path, dict))
    except InputError:
        return {}


def read_json_lines(path: str | Path, shape: Shape = dict) -> list[Any]:
    """The lines of a JSON Lines file, each with the defaults of `shape` filled in; an empty list if there is no file.

    Lines that do not have the shape are left out: the last line may be half-written. Raises InputError if the file cannot be read.
    """
    try:
        raw = _read_bytes(Path(path), MOST_BYTES)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as why:
        raise InputError(f"{path} cannot be read: {_reason(why)}.", "Check the file and its permissions.") from None
    rows = []
    for line in raw.splitlines():
        try:
            rows.append(parse_json(line, shape))
        except JsonError:
            continue
    return rows


def parse_json(raw: bytes | str, shape: Shape = object) -> Any:
    """The value of a JSON text, with the defaults of `shape` filled in. Raises JsonError."""
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
        if not text.strip("\ufeff \t\r\n"):
            raise JsonError("is empty")
        value = _repaired(json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_check_names, parse_int=_parse_int))
    except JsonError:
        raise
    except UnicodeDecodeError as why:
        raise JsonError(f"is not UTF-8 text (byte {why.start})") from None
    except RecursionError:
        raise JsonError(f"is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as why:
        raise JsonError(f"is not JSON ({why})") from None
    return fit(value, shape)


def _reason(why: Exception) -> str:
    return f"it {why}" if isinstance(why, JsonError) else str(getattr(why, "strerror", None) or why)


def _read_bytes(path: Path, most_bytes: int) -> bytes:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):  # reading a pipe would block, and a device would never end
        raise JsonError("is a folder" if stat.S_ISDIR(mode) else "is not a regular file")
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise JsonError(f"is larger than {most_bytes / 1e6:,.0f} MB")
    return raw


def _check_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        duplicate, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise JsonError(f"has an object with the name {duplicate[:60]!r} twice")
    return made


def _parse_int(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise JsonError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _repaired(value: Any, depth: int = 0) -> Any:
    """`value` with text that can be encoded: escapes in JSON can write half of a surrogate pair. Raises JsonError if it is too deep."""
    if depth > MOST_DEPTH:
        raise JsonError(f"is nested more than {MOST_DEPTH} levels deep")
    if isinstance(value, str):
        return repair(value)
    if isinstance(value, list):
        return [_repaired(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {repair(name): _repaired(item, depth + 1) for name, item in value.items()}
    return value
