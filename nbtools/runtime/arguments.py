"""Check what a person passes to a function against its own annotations, before anything else happens."""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from nbtools.errors import InputError

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

WORDS = {"str": "text", "int": "a whole number", "float": "a finite number", "bool": "True or False", "Path": "a path", "None": "None"}
LISTS = re.compile(r"(?:Sequence|Iterable|list)\[(str|int|float)\]")


def checked(**bounds: tuple[float, float]) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """A decorator: every argument must be what its annotation says, and the named ones lie within `bounds`.

    Checked are the annotations `str`, `int`, `float`, `bool`, `Path`, `None`, `Sequence[...]` of these, and unions; a parameter whose
    annotation names anything else is left to the function. True is no number, text is no list of texts, NaN and infinity are refused,
    NumPy's numbers are accepted, and a path is not empty. Raises InputError.
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        signature = inspect.signature(function)
        annotations = {
            name: inspect.formatannotation(parameter.annotation).strip("'\"").split(" | ")
            for name, parameter in signature.parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        for parts in annotations.values():
            if "Path" in parts and "str" in parts:
                parts.remove("str")  # text that names a path
        kinds = {name: parts for name, parts in annotations.items() if all(part in WORDS or LISTS.fullmatch(part) for part in parts)}

        @functools.wraps(function)
        def guarded(*arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
            for name, value in signature.bind(*arguments, **options).arguments.items():
                if name in kinds:
                    _check(name, value, kinds[name], bounds.get(name))
            return function(*arguments, **options)

        return guarded

    return decorate


def _check(name: str, value: Any, kinds: Sequence[str], bounds: tuple[float, float] | None) -> None:
    if not any(_is(value, kind) for kind in kinds):
        wanted = " or ".join(dict.fromkeys(_word(kind) for kind in kinds))
        raise InputError(f"{name} must be {wanted}, and {_shown(value)} is not.", f"Give {name} {wanted}.")
    if bounds is not None:
        least, most = bounds
        for one in value if isinstance(value, Iterable) else [value]:
            if one is not None and not least <= one <= most:
                raise InputError(f"{name} is {_shown(one)}.", f"Give a number from {least:,} to {most:,}.")


def _is(value: Any, kind: str) -> bool:
    if inner := LISTS.fullmatch(kind):
        return isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict)) and all(_is(one, inner[1]) for one in value)
    if kind == "None":
        return value is None
    if kind == "bool":
        return isinstance(value, bool) or type(value).__name__ == "bool_"
    if kind == "str":
        return isinstance(value, str)
    if kind == "Path":
        return (isinstance(value, (str, os.PathLike)) and bool(os.fspath(value))) and "\0" not in str(value)
    if isinstance(value, bool) or not isinstance(value, Integral if kind == "int" else Real):
        return False
    try:
        return kind == "int" or math.isfinite(float(value))
    except OverflowError:  # 10**400
        return False


def _word(kind: str) -> str:
    inner = LISTS.fullmatch(kind)
    return f"a list of {({'str': 'texts', 'int': 'whole numbers', 'float': 'numbers'})[inner[1]]}" if inner else WORDS[kind]


def _shown(value: Any) -> str:
    """A value in a message: one line, not long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
