"""Find, check and solve the exercises of the course, and show their hints one at a time."""

from __future__ import annotations

import copy
import difflib
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.exercises import attention, finetuning, generation, loading, own, pitfalls, sampling, setup, sweeps, tasks
from nbtools.exercises.definition import UNSOLVED, Exercise, Raised, Verdict, failed, is_stub
from nbtools.exercises.progress import note_try
from nbtools.system import decoration, say

if TYPE_CHECKING:
    from nbformat import NotebookNode

CHECK_LINE = re.compile(r'^check\("(?P<id>[^"]+)",\s*(?P<answer>\S.*)\)\s*(#[\s\S]*)?$')
MODULES = (attention, finetuning, generation, loading, own, pitfalls, sampling, setup, sweeps, tasks)
EXERCISES: Mapping[str, Exercise] = dict(sorted((exercise.id, exercise) for module in MODULES for exercise in module.EXERCISES))

_hints_shown: Counter[str] = Counter()


def find(exercise_id: str) -> Exercise:
    """Return the exercise with this id. Raises InputError, with the nearest id, if there is none."""
    if isinstance(exercise_id, str) and exercise_id in EXERCISES:
        return EXERCISES[exercise_id]
    near = difflib.get_close_matches(str(exercise_id), EXERCISES, n=1, cutoff=0.3)
    remedy = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(EXERCISES)}."
    raise InputError(f"There is no exercise {exercise_id!r}.", remedy)


def judge(exercise_id: str, answer: Any) -> Verdict:
    """Check `answer` and return the verdict; an exception in the answer becomes a failed verdict.

    Raises InputError for an unknown id.
    """
    exercise = find(exercise_id)
    try:
        return UNSOLVED if is_stub(answer) else exercise.check(answer)
    except (Exception, SystemExit) as error:  # the answer is a learner's code: whatever it raises is part of the answer
        return failed(f"It {Raised.of(error)}.")


@decoration
def check(exercise_id: str, answer: Any) -> None:
    """Judge an answer and print the result. Never raises: a stub, a wrong answer and an unknown id each print a line."""
    exercise, verdict = find(exercise_id), judge(exercise_id, answer)
    if verdict.unsolved:
        _hints_shown[exercise.id] = max(1, _hints_shown[exercise.id])
        say(f"Exercise {exercise.id}: not solved yet. {_hint_text(exercise, 1)}")
        return
    try:
        note_try(exercise.id, verdict.passed, _hints_shown[exercise.id])
    except (InputError, OSError) as error:
        say(f"(Your progress could not be saved: {str(error).splitlines()[0]})")
    if verdict.passed:
        say(f"Exercise {exercise.id}: solved. {verdict.message}")
    else:
        say(f"Exercise {exercise.id}: not there yet. {verdict.message}")
        if _hints_shown[exercise.id] < len(exercise.hints) - 1:
            hint(exercise.id)
        else:
            say(f'hint("{exercise.id}") shows the last hint, which is nearly the answer.')


@decoration
def hint(exercise_id: str) -> None:
    """Print the next hint; after the last one, print it again. Never raises."""
    exercise = find(exercise_id)
    _hints_shown[exercise.id] = min(_hints_shown[exercise.id] + 1, len(exercise.hints))
    say(_hint_text(exercise, _hints_shown[exercise.id]))


def _hint_text(exercise: Exercise, number: int) -> str:
    return f"Hint {number} of {len(exercise.hints)}: {exercise.hints[number - 1]}"


def solved_copy(notebook: NotebookNode) -> NotebookNode:
    """Copy `notebook` with each exercise's stub replaced by its solution.

    An exercise is a code cell tagged `exercise` whose last line is its check; everything above that line is the stub.

    Raises InputError for a tagged cell that does not end with a check.
    """
    filled = copy.deepcopy(notebook)
    for number, cell in enumerate(filled.cells, 1):
        if cell.cell_type == "code" and "exercise" in cell.metadata.get("tags", ()):
            last = cell.source.rstrip().rpartition("\n")[2]
            found = CHECK_LINE.match(last)
            if not found:
                problem = f"Exercise cell {number} ends in {last!r}." if last else f"Exercise cell {number} is empty."
                raise InputError(problem, 'Its last line must be check("NN-word", answer); the course\'s own notebook has it.')
            cell.source = f"{find(found['id']).solution}\n\n{last}"
            cell.outputs, cell.execution_count = [], None
    return filled
