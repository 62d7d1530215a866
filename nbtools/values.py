"""Check single values: one table holds the check of each option, by name.

A name means the same in functions, in notebooks and on the command line, so its bounds are defined once, here. The upper bounds are far
above useful values; they catch typing errors that would take all memory.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ParamSpec, Self, TypeVar

from nbtools.errors import InputError
from nbtools.texts import check_texts

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
LISTS = re.compile(r"(?:Sequence|Iterable|list)\[(str|int|float)\]")


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`; calling it checks a value and returns it as a Python int or float.

    NumPy numbers are accepted; bool and text are not.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    """Whether only whole numbers are allowed; 3.0 is not one."""
    above: bool = False
    """Whether `low` itself is excluded."""
    below: bool = False
    """Whether `high` itself is excluded."""

    def __call__(self, name: str, value: Any) -> Any:
        kind: Any = numbers.Integral if self.whole else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{name} is {shown(value)}, which is not {self._noun()}.", f"Give {self}.")
        try:
            number = int(value) if self.whole else float(value)
        except (OverflowError, ValueError):  # an int too large for a float
            number = math.inf
        enough = number > self.low if self.above else number >= self.low
        few_enough = number < self.high if self.below else number <= self.high
        if not enough or not few_enough or abs(number) == math.inf:  # both comparisons are False for NaN
            raise InputError(f"{name} is {shown(value)}.", f"Give {self}.")
        return number

    def __str__(self) -> str:
        low = f" above {self.low:,}" if self.above else f" from {self.low:,}"
        high = f" below {self.high:,}" if self.below else f" up to {self.high:,}"
        return self._noun() + low * (self.low != -math.inf) + high * (self.high != math.inf)

    def _noun(self) -> str:
        return "a whole number" if self.whole else "a number"


@dataclass(frozen=True)
class Text:
    """A string or, if there are `options`, one of them."""

    options: tuple[str, ...] = ()

    def __call__(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise InputError(f"{name} is {shown(value)}, which is not text.", f"Give {self}.")
        if self.options and value not in self.options:
            raise InputError(f"{name} is {shown(value)}.", f"{near_miss(value, self.options)}Give {self}.")
        return str(value)

    def __str__(self) -> str:
        return f"one of: {', '.join(self.options)}" if self.options else "text"


def switch(name: str, value: Any) -> bool:
    """Check that `value` is a bool or a NumPy bool. Raises InputError for anything else, including 0 and 1."""
    if isinstance(value, bool) or type(value).__name__ in {"bool_", "bool"}:
        return bool(value)
    raise InputError(f"{name} is {shown(value)}.", "Give True or False.")


def path(name: str, value: Any) -> str | os.PathLike[str]:
    """Check that `value` is a non-empty path, as text or as a path object. Raises InputError for anything else."""
    if isinstance(value, (str, os.PathLike)) and os.fspath(value) and "\0" not in str(value):
        return value
    raise InputError(f"{name} is {shown(value)}, which is not a path.", "Give the path of a file or folder.")


def count(high: int, low: int = 1) -> Number:
    """Return the check for a whole number from `low` to `high`."""
    return Number(low, high, whole=True)


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    # decoding
    "do_sample": switch,
    "temperature": Number(0, 100),
    "top_k": count(10**9, low=0),
    "top_p": Number(0, 1, above=True),
    "min_p": Number(0, 1),
    "repetition_penalty": Number(0.01, 100),
    "num_beams": count(1_000),
    "num_samples": count(10_000),
    "max_new_tokens": count(10**6),
    "max_length": count(10**6, low=2),
    # training
    "learning_rate": Number(0, 10, above=True),
    "batch_size": count(10**5),
    "gradient_accumulation_steps": count(10**5),
    "epochs": Number(0, 10**5, above=True),
    "max_steps": count(10**8),
    "checkpoint_steps": count(10**8),
    "dropout": Number(0, 1, below=True),
    "lora": switch,
    "resume": switch,
    "compile": switch,
    "dtype": Text(("fp32", "bf16", "fp16")),
    "report_to": Text(),
    # More threads than processors do not help, and with a hundred thousand the system refuses one and the process ends.
    "threads": count(max(64, 4 * (os.cpu_count() or 1))),
    # both
    "seed": count(2**32 - 1, low=0),  # the range of a NumPy seed
    # data
    "block_size": count(10**6, low=2),
    **{name: count(10**9) for name in ("max_reviews", "max_texts", "train_reviews")},
    # runs
    **{name: count(10_000) for name in ("processes", "seeds", "workers")},
}


class Checked:
    """Base class of a frozen dataclass whose fields are checked and converted by `CHECKS`; None is accepted if the annotation allows it."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None or "None" not in str(field.type):
                object.__setattr__(self, field.name, CHECKS[field.name](field.name, value))

    @classmethod
    def from_options(cls, caller: str, options: Mapping[str, Any], also: Iterable[str] = (), without: Collection[str] = ()) -> Self:
        """Create an instance from keyword arguments.

        caller   name of the function that was called, for errors
        options  the keyword arguments
        also     further options of `caller`, listed in the error
        without  fields that are not options of `caller`

        Raises InputError for an unknown option, with the most similar name, and for an invalid value.
        """
        known = [field.name for field in fields(cls) if field.name not in without]  # type: ignore[arg-type]
        check_names(caller, options, known, also)
        return cls(**options)


def checked(**bounds: tuple[float, float]) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """Return a decorator that checks a function's arguments against their annotations and against bounds.

    bounds  lowest and highest value by parameter; other parameters are checked by `CHECKS` if their name is listed there

    Arguments annotated `str`, `int`, `float`, `bool`, `str | Path`, as lists of strings or numbers, or as any of these with `None`, are
    checked and converted; others are left to the function. The decorated function raises InputError for an invalid argument.
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        signature = inspect.signature(function)
        checks = {}
        for name, parameter in signature.parameters.items():
            annotation = inspect.formatannotation(parameter.annotation).strip("'\"")
            check = _check_of(name, annotation, bounds.get(name))
            if check is not None and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                checks[name] = check, annotation.endswith(" | None")

        @functools.wraps(function)
        def guarded(*arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
            bound = signature.bind(*arguments, **options)
            for name, (check, none) in checks.items():
                if name in bound.arguments and not (none and bound.arguments[name] is None):
                    bound.arguments[name] = check(name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return guarded

    return decorate


def _check_of(name: str, annotation: str, bounds: tuple[float, float] | None) -> Callable[[str, Any], Any] | None:
    """Return the check for an annotation, or None if the argument is left to the function."""
    kind = annotation.removesuffix(" | None")
    low, high = bounds or (-math.inf, math.inf)
    if found := LISTS.fullmatch(kind):
        if found[1] == "str":
            return lambda name, value: check_texts(value, name)
        return functools.partial(_numbers, Number(low, high, found[1] == "int"))
    if kind in ("int", "float"):
        return CHECKS[name] if name in CHECKS and bounds is None else Number(low, high, kind == "int")
    return {"str": Text(), "bool": switch, "str | Path": path}.get(kind)  # type: ignore[return-value]


def _numbers(check: Number, name: str, value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InputError(f"{name} is {shown(value)}, which is not a list.", "Give a list of numbers.")
    return [check(f"{name}[{index}]", number) for index, number in enumerate(value)]


def check_names(caller: str, given: Iterable[str], known: Iterable[str], also: Iterable[str] = ()) -> None:
    """Raise InputError for the first name in `given` that is not in `known`; the error lists `known` and `also`."""
    known = list(known)
    for name in given:
        if name not in known:
            listed = [*known, *also]
            raise InputError(f"{caller} has no option {name!r}.", f"{near_miss(name, listed)}The options are: {', '.join(listed)}.")


def near_miss(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "Did you mean …? " with the most similar name in `known`, ignoring case and surrounding spaces, or an empty string."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.strip().lower(), by_lower, n=1, cutoff=cutoff)
    return f"Did you mean {by_lower[near[0]]!r}? " if near else ""


def shown(value: Any) -> str:
    """Return `value` as quoted in an error: on one line of at most 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python converts to text
        text = f"a number of about {value.bit_length() * 0.30103:,.0f} digits"
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:77]}..."
