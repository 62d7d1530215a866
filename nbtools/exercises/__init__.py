"""Exercises that mark themselves. One module a notebook defines its exercises as data; `check` and `hint` are for learners."""

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
