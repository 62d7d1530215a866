"""Check a function by its results on the same trials as the solution and each known wrong answer."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbtools.exercises.framework import UNSOLVED, Exercise, Verdict, WrongAnswer, failed, is_stub, solved

Trials = Callable[[], Sequence[tuple[Any, ...]]]


def answer_of(source: str) -> Any:
    """Run the source of an answer and return the value of the last name that it assigns at top level.

    The source may use `math`, `np` and `torch` without importing them, as in the notebooks.
    """
    import numpy as np
    import torch

    namespace: dict[str, Any] = {"math": math, "np": np, "torch": torch}
    exec(compile(source, "<answer>", "exec"), namespace)
    names = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            names.append(statement.targets[0].id)
    return namespace[names[-1]]


def function_exercise(
    *, trials: Trials, praise: str, solution: str, wrong: tuple[WrongAnswer, ...], tolerance: float = 1e-4, **fields: Any
) -> Exercise:
    """Create an exercise whose answer is a function that is checked on `trials`.

    trials     returns new argument tuples at each call, so that an answer may modify its arguments
    praise     what a right answer shows
    solution   source of the right answer
    wrong      known wrong answers; an answer with the same result on every trial gets that misconception
    tolerance  largest difference allowed, relative to the expected number (absolute below 1)
    fields     the other fields of `Exercise`
    """

    def check(answer: Any) -> Verdict:
        if not callable(answer):
            return failed(f"The check takes the function itself, and got {show(answer)}.", "Leave out the parentheses after its name.")
        results = _results(answer, trials)
        if all(map(is_stub, results)):
            return UNSOLVED
        expected = _results(answer_of(solution), trials)
        misses = [index for index, (got, want) in enumerate(zip(results, expected, strict=True)) if not same(got, want, tolerance)]
        if not misses:
            return solved(praise)
        known = (answer.misconception for answer in wrong if same(results, _results(answer_of(answer.source), trials), tolerance))
        got, want = results[misses[0]], expected[misses[0]]
        outcome = str(got) if isinstance(got, _Raised) else f"gave {show(got)}"
        arguments = ", ".join(map(show, trials()[misses[0]]))
        return failed(f"For ({arguments}) it should give {show(want)}; it {outcome}.", next(known, ""))

    return Exercise(check=check, solution=solution, wrong=wrong, **fields)


@dataclass(frozen=True)
class _Raised:
    """The result of a call that raised; two are equal if the exceptions have the same type."""

    kind: str
    message: str = field(compare=False)

    def __str__(self) -> str:
        return f"raised {self.kind}{f': {self.message}' if self.message else ''}"


def _results(function: Callable[..., Any], trials: Trials) -> list[Any]:
    results = []
    for arguments in trials():
        try:
            results.append(function(*arguments))
        except Exception as error:
            # The function is a learner's code: an exception is its result.
            results.append(_Raised(type(error).__name__, next(iter(str(error).strip().splitlines()), "")))
    return results


def same(left: Any, right: Any, tolerance: float = 1e-4) -> bool:
    """Whether two results are equal: numbers and arrays within `tolerance`, lists and tuples item by item, everything else exactly."""
    left, right = _plain(left), _plain(right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b, tolerance) for a, b in zip(left, right, strict=True))
    numbers = (int, float)
    if isinstance(left, numbers) and isinstance(right, numbers):
        if math.isinf(right) or math.isinf(left) or math.isnan(left) or math.isnan(right):
            return left == right or (math.isnan(left) and math.isnan(right))
        return abs(left - right) <= tolerance * max(1.0, abs(right))
    return type(left) is type(right) and bool(left == right)


def _plain(value: Any) -> Any:
    """Convert tensors and arrays to nested lists, and those with a single number to that number."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.tolist() if hasattr(value, "tolist") else value


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
