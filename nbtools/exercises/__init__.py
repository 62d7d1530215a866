"""Self-marking exercises. One module per notebook defines its exercises as data; learners call `check` and `hint`."""

from nbtools.exercises.definition import answer_of, function_exercise
from nbtools.exercises.framework import EXERCISES, check, hint, judge, solved_copy

__all__ = ["EXERCISES", "answer_of", "check", "function_exercise", "hint", "judge", "solved_copy"]
