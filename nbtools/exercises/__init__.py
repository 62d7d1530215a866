"""Self-marking exercises. One module per notebook defines its exercises as data; learners call `check` and `hint`."""

from nbtools.exercises.definition import Exercise, Verdict, answer_of, failed, function_exercise, solved
from nbtools.exercises.framework import EXERCISES, check, hint, judge, solved_copy

__all__ = [
    "EXERCISES",
    "Exercise",
    "Verdict",
    "answer_of",
    "check",
    "failed",
    "function_exercise",
    "hint",
    "judge",
    "solved",
    "solved_copy",
]
