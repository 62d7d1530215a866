"""The definition of an exercise as data, and the check of a function by its results on given arguments."""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """The result of a check."""

    passed: bool
    message: str = ""
    """One line: what a right answer shows, or what was expected and the likely misconception."""
    unsolved: bool = False
    """Whether the answer is still the stub; `message` is then not used."""


def failed(expected: str, misconception: str = "") -> Verdict:
    """A verdict for a wrong answer: what was expected, and the misconception that usually leads to this answer, if it was recognized."""
    return Verdict(False, f"{expected} {misconception}".strip())


UNSOLVED = Verdict(False, unsolved=True)


@dataclass(frozen=True)
class Exercise:
    """One exercise; its task is in the notebook, in the cell before the stub."""

    id: str
    """Notebook number, dash, word: "01-scale"."""
    title: str
    """A few words."""
    hints: tuple[str, ...]
    """From a first idea, which is also in the notebook, to nearly the answer."""
    check: Callable[[Any], Verdict]
    """Takes the answer; if it raises, `judge` reports the error in one line."""
    solution: str
    """Source that replaces the stub; the last name that it introduces is the answer."""
    wrong: Mapping[str, str]
    """Known wrong answers, in the same form, and the misconception that the check prints for each."""


def function_exercise(
    exercise_id: str,
    title: str,
    *,
    hints: tuple[str, ...],
    signature: str,
    solution: str,
    wrong: Mapping[str, str],
    trials: Sequence[tuple[Any, ...]],
    praise: str,
    imports: str = "",
    tensors: bool = False,
    tolerance: float = 1e-4,
    avoid: Mapping[str, str] | None = None,
) -> Exercise:
    """Create an exercise whose answer is a function that is checked on `trials`.

    signature  the function's name and arguments
    solution   body of the right answer, as an indented block, or as one expression whose value is returned
    wrong      bodies of known wrong answers; an answer with the same result on every trial gets that misconception
    trials     tuples of arguments; each call gets a copy, so that an answer may modify them
    praise     what a right answer shows
    imports    lines before the function
    tensors    whether lists among the arguments become tensors
    tolerance  largest difference allowed between numbers, relative to the larger one (absolute below 1)
    avoid      names that the answer may not use, because they are the answer, and what is said then

    A function that changes its arguments, or returns a tensor of another type than the right answer's, does not pass.
    """
    source = function_source(signature, solution, imports)
    misconceptions = {function_source(signature, body, imports): misconception for body, misconception in wrong.items()}

    def results_of(function: Callable[..., Any]) -> list[Any]:
        return [_call(function, _arguments(trial, tensors)) for trial in trials]

    def objection(answer: Callable[..., Any], given: list[list[Any]], results: list[Any], expected: list[Any]) -> str | None:
        """Why a function whose results are right does not pass all the same; `given` are the arguments after the calls."""
        used = getattr(getattr(answer, "__code__", None), "co_names", ())
        if found := [said for name, said in (avoid or {}).items() if name in used]:
            return found[0]
        for trial, arguments in zip(trials, given, strict=True):
            if not all(same(left, before, 0.0) for left, before in zip(arguments, _arguments(trial, tensors), strict=True)):
                return "The result is right, but an argument was changed in place: the caller still needs it. Return a new value."
        for got, want in zip(results, expected, strict=True):
            if _kind(got) != _kind(want):
                return f"The values are right, but the result is {_kind(got)}, and {_kind(want)} was asked for."
        return None

    def check(answer: Any) -> Verdict:
        if not callable(answer):
            return failed(f"The check takes the function itself, and got {show(answer)}.", "Leave out the parentheses after its name.")
        given = [_arguments(trial, tensors) for trial in trials]
        results, expected = [_call(answer, arguments) for arguments in given], results_of(answer_of(source))
        if all(result is None for result in results) and getattr(answer, "__name__", "") != "<lambda>":
            return failed("The function returns nothing.", "Is `return` missing in front of the result?")
        if all(map(is_stub, results)):
            return UNSOLVED
        for trial, got, want in zip(trials, results, expected, strict=True):
            if not same(got, want, tolerance):
                known = (text for code, text in misconceptions.items() if same(results, results_of(answer_of(code)), tolerance))
                outcome = str(got) if isinstance(got, Raised) else f"gave {show(got)}"
                return failed(f"For ({', '.join(map(show, trial))}) it should give {show(want)}; it {outcome}.", next(known, ""))
        problem = objection(answer, given, results, expected)
        return Verdict(True, praise) if problem is None else Verdict(False, problem)

    return Exercise(exercise_id, title, hints, check, source, misconceptions)


def function_source(signature: str, body: str, imports: str = "") -> str:
    """The source of a function; a `body` of a single line is the expression that it returns."""
    block = textwrap.dedent(body).strip() if "\n" in body else f"return {body}"
    return f"{imports}\n\ndef {signature}:\n{textwrap.indent(block, '    ')}".strip()


def answer_of(source: str) -> Any:
    """Run the source of an answer and return the value of the last name that it introduces.

    The source may use `math`, `np` and `torch` without importing them, as in the notebooks.
    """
    import numpy as np
    import torch

    namespace: dict[str, Any] = {"math": math, "np": np, "torch": torch}
    exec(compile(source, "<answer>", "exec"), namespace)
    return list(namespace.values())[-1]


def is_stub(answer: Any) -> bool:
    """Whether `answer` is that of an unchanged stub: `...`, None, or a list, tuple or dict that contains one of them."""
    if answer is None or answer is ...:
        return True
    if isinstance(answer, dict):
        return any(map(is_stub, answer.values()))
    return isinstance(answer, (list, tuple)) and any(map(is_stub, answer))


@dataclass(frozen=True)
class Raised:
    """The result of a call that raised; two are equal if the exceptions have the same type."""

    kind: str
    message: str = field(compare=False)

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        """With the first line of the exception's message; "" if it has none or str() itself fails."""
        try:
            return cls(type(error).__name__, next((f": {line}" for line in str(error).strip().splitlines()), ""))
        except Exception:
            return cls(type(error).__name__, "")

    def __str__(self) -> str:
        return f"raised {self.kind}{self.message}"


def _arguments(trial: tuple[Any, ...], tensors: bool) -> list[Any]:
    import torch

    return [torch.tensor(value) if tensors and isinstance(value, list) else copy.deepcopy(value) for value in trial]


def _call(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # the function is a learner's code: an exception is its result
        return Raised.of(error)


def same(left: Any, right: Any, tolerance: float = 1e-4) -> bool:
    """Whether two results are equal: numbers and arrays within `tolerance`, lists and tuples item by item, everything else exactly."""
    left, right = _plain(left), _plain(right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b, tolerance) for a, b in zip(left, right, strict=True))
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or math.isclose(left, right, rel_tol=tolerance, abs_tol=tolerance)
    return type(left) is type(right) and bool(left == right)


def _plain(value: Any) -> Any:
    """Convert tensors and arrays to nested lists, and those with a single number to that number."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.tolist() if hasattr(value, "tolist") else value


def _kind(value: Any) -> str:
    """The type of a result as far as it matters for its use: of numbers inside a tensor, or a tensor against a Python value."""
    if hasattr(value, "detach"):
        dtype = str(value.dtype).removeprefix("torch.")
        return "a tensor of " + ("bool" if dtype == "bool" else "floats" if value.is_floating_point() else "integers")
    return "an array" if hasattr(value, "tolist") and value.ndim else "a Python value"


def show(value: Any) -> str:
    """Format a value as one short line, with numbers rounded to four significant digits."""
    value = _plain(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(show, value[:6])) + (", …" if len(value) > 6 else "")
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if callable(value):
        return f"the function {getattr(value, '__name__', '')}".strip()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
