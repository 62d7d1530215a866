"""Check a value read from JSON against a shape, which also says what to fill in.

A shape is plain Python:

    str, bool, dict, list   a value of that type
    int, float              an integer within ±2⁵³, which JSON carries exactly; a finite number. True and False are not numbers
    object                  anything
    Whole(0, 9)             an integer in a range
    Is(1)                   one of some constants
    re.compile("[a-z]+")    text that matches completely
    [shape]                 a list of such values
    {str: shape}            an object whose values have that shape, under any name
    {"name": shape}         an object with at least these names; others are kept unchanged
    (shape, shape)          one of several
    Maybe(shape, default)   only in an object: a missing or null value becomes the default; without a default, it is left out
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from typing import Any

Shape = Any  # see above
EXACT = 2**53  # the largest integer up to which a double holds every integer
MISSING: Any = object()
WORDS = {str: "text", bool: "true or false", dict: "an object", list: "a list", int: "a whole number", float: "a finite number"}


class JsonError(ValueError):
    """Why a text is not the JSON that was expected, phrased as the end of a sentence that begins with "it"."""


@dataclass(frozen=True)
class Maybe:
    """A name that may be missing or null."""

    shape: Shape
    default: Any = MISSING


@dataclass(frozen=True)
class Whole:
    """An integer from `least` to `most`."""

    least: int
    most: int = EXACT


class Is:
    """One of the constants."""

    def __init__(self, *values: Any) -> None:
        self.values = values


def fit(value: Any, shape: Shape, where: str = "") -> Any:
    """`value` with the defaults of `shape` filled in.

    where  the path of the value in its file, for the error: "list[0].name"

    Raises JsonError, which names the path, if the value does not have the shape.
    """
    if isinstance(shape, dict) and isinstance(value, dict):
        return _fit_object(value, shape, where)
    if isinstance(shape, list) and isinstance(value, list):
        return [fit(item, shape[0], f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(shape, tuple):
        for alternative in shape:
            try:
                return fit(value, alternative, where)
            except JsonError:
                continue
    elif _is(value, shape):
        return value
    shown = WORDS[type(value)] if isinstance(value, (dict, list)) else repr(value)[:60]
    raise JsonError(f"holds {shown} {f'as {where}' if where else 'at its top level'}, which must be {_words(shape)}")


def _fit_object(value: dict[str, Any], shape: dict[Any, Shape], where: str) -> dict[str, Any]:
    def inner(name: str) -> str:
        return f"{where}.{name}" if where else name

    if str in shape:
        return {name: fit(item, shape[str], inner(name)) for name, item in value.items()}
    fitted = dict(value)
    for name, expected in shape.items():
        optional = isinstance(expected, Maybe)
        if optional and fitted.get(name) is None:
            fitted.pop(name, None)
            if expected.default is not MISSING:
                fitted[name] = copy.deepcopy(expected.default)
        elif name not in fitted:
            raise JsonError(f"has no {inner(name)}")
        else:
            fitted[name] = fit(fitted[name], expected.shape if optional else expected, inner(name))
    return fitted


def _is(value: Any, shape: Shape) -> bool:
    """Whether a value has a shape without parts."""
    if shape is object:
        return True
    if isinstance(shape, Is):
        return any(type(value) is type(constant) and value == constant for constant in shape.values)
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    if isinstance(value, bool):
        return shape is bool
    if shape is int:
        shape = Whole(-EXACT)
    if isinstance(shape, Whole):
        return isinstance(value, int) and shape.least <= value <= shape.most
    if shape is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(shape, type) and isinstance(value, shape)


def _words(shape: Shape) -> str:
    if isinstance(shape, tuple):
        return " or ".join(map(_words, shape))
    if isinstance(shape, Is):
        return " or ".join(map(repr, shape.values))
    if isinstance(shape, Whole):
        return f"a whole number from {shape.least} to {shape.most}"
    if isinstance(shape, re.Pattern):
        return f"text such as {shape.pattern}"
    return WORDS[type(shape) if isinstance(shape, (dict, list)) else shape]
