"""Read JSON that somebody else wrote, or that may be damaged: bounded, checked against a shape, mended where the shape says how.

A shape is plain Python:

    str, bool, dict, list   a value of that type
    int, float              a whole number within ±2⁵³, which JSON carries exactly; a finite number. True and False are no numbers
    object                  anything
    Whole(0, 9)             a whole number in a range
    Is(1)                   one of some constants
    re.compile("[a-z]+")    text that matches completely
    [shape]                 a list of such values
    {str: shape}            an object whose values have that shape, under any name
    {"name": shape}         an object with at least these names; others are kept as they are
    (shape, shape)          one of several
    Maybe(shape, default)   only within an object: a missing or null value becomes the default or, without one, stays out

Whatever the shape, refused are files that are too large, nested too deeply, not UTF-8 or UTF-16, objects that give a name twice, and
whole numbers too large for a float. A byte order mark is skipped, half of a surrogate pair becomes U+FFFD. NaN and Infinity, which
Python writes although JSON has none, pass where the shape is `object`.
"""

from __future__ import annotations

import copy
import json
import math
import re
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtools.errors import CourseError, InputError

Shape = Any  # see above

MOST_BYTES = 200_000_000  # a notebook with many pictures has a tenth of that
MOST_DEPTH = 100  # nbformat and the standard library recurse; a notebook's own nesting is below twenty
MOST_DIGITS = 300  # a float holds 308
EXACT = 2**53
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")  # in the raw text; an escaped pair matches too, and survives the mending
_MISSING: Any = object()


class ForeignError(ValueError):
    """Why a text is not the JSON that was asked for, as the end of a sentence that begins with "it"."""


@dataclass(frozen=True)
class Maybe:
    """A name that may be missing or null."""

    shape: Shape
    default: Any = _MISSING


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int = EXACT


class Is:
    """One of the constants."""

    def __init__(self, *values: Any) -> None:
        self.values = values


def read_json(
    path: str | Path,
    shape: Shape = object,
    remedy: str = "Get the file again, or delete it.",
    error: type[CourseError] = InputError,
    most_bytes: int = MOST_BYTES,
    absent: Any = _MISSING,
) -> Any:
    """The content of a JSON file, fitted to `shape`; `absent`, where that is given and there is no file.

    Raises `error` with `remedy` for everything else. Its problem begins with the path.
    """
    try:
        return parse_json(_read_bytes(Path(path), most_bytes), shape)
    except ForeignError as why:
        raise error(f"{path} cannot be read: it {why}.", remedy) from None
    except FileNotFoundError:
        if absent is not _MISSING:
            return absent
        raise error(f"{path} is missing.", remedy) from None
    except (OSError, ValueError) as why:  # ValueError: a path that no file can have
        raise error(f"{path} cannot be read: {getattr(why, 'strerror', None) or why}.", remedy) from None


def read_object(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file; {} where `read_json` would raise."""
    try:
        return dict(read_json(path, dict))
    except InputError:
        return {}


def read_json_lines(path: str | Path, shape: Shape = dict, most_bytes: int = MOST_BYTES) -> list[Any]:
    """The lines of a file that is written line by line, each fitted to `shape`; [] without a file.

    Lines that do not fit are left out: the last one may be half written just now. Raises InputError for a file that cannot be read.
    """
    try:
        raw = _read_bytes(Path(path), most_bytes)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as why:
        raise InputError(f"{path} cannot be read: {getattr(why, 'strerror', None) or why}.", "Check the file and its rights.") from None
    rows = []
    for line in raw.splitlines():
        try:
            rows.append(parse_json(line, shape))
        except ForeignError:
            continue
    return rows


def parse_json(raw: bytes | str, shape: Shape = object) -> Any:
    """JSON text fitted to `shape`. Raises ForeignError."""
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
        if not text.strip("\ufeff \t\r\n"):
            raise ForeignError("is empty")
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_no_name_twice, parse_int=_bounded)
    except ForeignError:
        raise
    except UnicodeDecodeError as why:
        raise ForeignError(f"is no UTF-8 text (byte {why.start})") from None
    except RecursionError:
        raise ForeignError(f"is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as why:
        raise ForeignError(f"is no JSON ({why})") from None
    _check_depth(value)
    if SURROGATE.search(text):
        value = _mend_surrogates(value)
    return fit(value, shape)


def fit(value: Any, shape: Shape, where: str = "") -> Any:
    """`value` as `shape` describes it, with its defaults. Raises ForeignError, which names the place in the file."""
    if isinstance(shape, dict) and isinstance(value, dict):
        return _fit_object(value, shape, where)
    if isinstance(shape, list) and isinstance(value, list):
        return [fit(one, shape[0], f"{where}[{number}]") for number, one in enumerate(value)]
    if isinstance(shape, tuple):
        for one in shape:
            try:
                return fit(value, one, where)
            except ForeignError:
                continue
    elif _is(value, shape):
        return value
    shown = repr(value) if isinstance(value, (str, int, float, type(None))) else _kind(value)
    raise ForeignError(f"holds {shown[:60]} {f'as {where}' if where else 'at its top'}, which must be {_words(shape)}")


def _fit_object(value: dict[str, Any], shape: dict[Any, Shape], where: str) -> dict[str, Any]:
    inner: Callable[[str], str] = lambda name: f"{where}.{name}" if where else name  # noqa: E731
    if str in shape:
        return {name: fit(one, shape[str], inner(name)) for name, one in value.items()}
    fitted = dict(value)
    for name, one in shape.items():
        if isinstance(one, Maybe):
            if fitted.get(name) is None:
                fitted.pop(name, None)
                if one.default is not _MISSING:
                    fitted[name] = copy.deepcopy(one.default)
                continue
            one = one.shape
        elif name not in fitted:
            raise ForeignError(f"has no {inner(name)}")
        fitted[name] = fit(fitted[name], one, inner(name))
    return fitted


def _is(value: Any, shape: Shape) -> bool:
    if shape is object:
        return True
    if isinstance(shape, Is):
        return any(type(value) is type(one) and value == one for one in shape.values)
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    if isinstance(value, bool):
        return shape is bool
    if isinstance(shape, Whole):
        return isinstance(value, int) and shape.least <= value <= shape.most
    if shape is int:
        return isinstance(value, int) and abs(value) <= EXACT
    if shape is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(shape, type) and isinstance(value, shape)


def _words(shape: Shape) -> str:
    """A shape in words."""
    if isinstance(shape, tuple):
        return " or ".join(map(_words, shape))
    if isinstance(shape, Is):
        return " or ".join(map(repr, shape.values))
    if isinstance(shape, Whole):
        return f"a whole number from {shape.least} to {shape.most}"
    if isinstance(shape, re.Pattern):
        return f"text such as {shape.pattern}"
    if isinstance(shape, (dict, list)):
        shape = type(shape)
    return {str: "text", bool: "true or false", dict: "an object", list: "a list", int: "a whole number", float: "a finite number"}[shape]


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "a list"


def _read_bytes(path: Path, most_bytes: int) -> bytes:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would wait for ever, a device would never end
        raise ForeignError("is a folder" if stat.S_ISDIR(about.st_mode) else "is no regular file")
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise ForeignError(f"is larger than {most_bytes / 1e6:,.0f} MB")
    return raw


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ForeignError(f"has an object that gives {twice[:60]!r} twice")
    return made


def _bounded(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ForeignError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [part for one in level if isinstance(one, (dict, list)) for part in (one.values() if isinstance(one, dict) else one)]:
        depth += 1
        if depth > MOST_DEPTH:
            raise ForeignError(f"is nested more than {MOST_DEPTH} levels deep")


def _mend_surrogates(value: Any) -> Any:
    """Text that can be encoded: JSON's escapes can spell half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mend_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {_mend_surrogates(name): _mend_surrogates(one) for name, one in value.items()}
    return value
