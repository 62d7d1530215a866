"""Self-marking exercises. One module per notebook defines its exercises as data; learners call `check` and `hint`."""

from nbtools.exercises.framework import EXERCISES, Exercise, Verdict, WrongAnswer, check, failed, hint, judge, solved, solved_copy
from nbtools.exercises.trials import answer_of, function_exercise

__all__ = [
    "EXERCISES",
    "Exercise",
    "Verdict",
    "WrongAnswer",
    "answer_of",
    "check",
    "failed",
    "function_exercise",
    "hint",
    "judge",
    "solved",
    "solved_copy",
]
