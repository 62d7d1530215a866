"""Self-marking exercises: what one is, how an answer is judged, and how hints are given in steps."""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.system import say

if TYPE_CHECKING:
    from nbformat import NotebookNode

CHECK_LINE = re.compile(r'^check\("(?P<id>[^"]+)",\s*(?P<answer>\S.*)\)\s*(#[\s\S]*)?$')


@dataclass(frozen=True)
class Verdict:
    """What a check says about one answer.

    message     passed: one line that says what was shown; failed: what was expected, and the likely misconception
    unsolved    the answer is still the stub; `message` is then not used
    """

    passed: bool
    message: str = ""
    unsolved: bool = False


def solved(message: str) -> Verdict:
    """The answer is right; `message` says what it shows."""
    return Verdict(True, message)


def failed(expected: str, misconception: str = "") -> Verdict:
    """The answer is wrong: what was expected, and the misconception that usually leads there, where it was recognised."""
    return Verdict(False, f"{expected} {misconception}".strip())


UNSOLVED = Verdict(False, unsolved=True)


@dataclass(frozen=True)
class WrongAnswer:
    """A known wrong answer: source code in place of the stub, and the sentence that a check says when it meets it."""

    source: str
    misconception: str


@dataclass(frozen=True)
class Exercise:
    """One exercise as data.

    id          notebook number, dash, word: "01-scale"
    minutes     expected time; difficulty 1 to 3
    task        one line
    hints       from a nudge to nearly the answer
    check       takes the answer and returns a Verdict; it may raise, `judge` turns that into one line
    solution    the lines that replace the stub; the last name that they bind is the answer
    wrong       known wrong answers, in the same form
    """

    id: str
    title: str
    minutes: int
    difficulty: int
    task: str
    hints: tuple[str, ...]
    check: Callable[[Any], Verdict]
    solution: str
    wrong: tuple[WrongAnswer, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d\d-[a-z0-9-]+", self.id):
            raise ValueError(f"exercise id {self.id!r} is not a notebook number, a dash and a word")
        if not self.hints or not self.wrong or self.difficulty not in (1, 2, 3):
            raise ValueError(f"exercise {self.id} needs hints, wrong answers and a difficulty of 1 to 3")

    def markdown(self) -> str:
        """The cell that stands before the stub: head line, task, first hint folded."""
        stars = "★" * self.difficulty + "☆" * (3 - self.difficulty)
        return (
            f"**Exercise {self.id}** · {self.minutes} minutes · difficulty {stars}\n\n{self.task}\n\n"
            f"<details><summary>Hint</summary>\n\n{self.hints[0]}\n\n</details>"
        )


class _Registry(Mapping[str, Exercise]):
    """Every exercise by id; the modules beside this one are read when the first is asked for."""

    @functools.cached_property
    def _all(self) -> dict[str, Exercise]:
        package = importlib.import_module("nbtools.exercises")
        found: dict[str, Exercise] = {}
        for module in pkgutil.iter_modules(package.__path__, "nbtools.exercises."):
            for exercise in getattr(importlib.import_module(module.name), "EXERCISES", ()) if module.name != __name__ else ():
                if exercise.id in found:
                    raise ValueError(f"two exercises are called {exercise.id}")
                found[exercise.id] = exercise
        return dict(sorted(found.items()))

    def __getitem__(self, key: str) -> Exercise:
        return self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


EXERCISES: Mapping[str, Exercise] = _Registry()
_hints_shown: Counter[str] = Counter()


def find(exercise_id: str) -> Exercise:
    """The exercise of that id. Raises InputError with the nearest id when there is none."""
    if isinstance(exercise_id, str) and exercise_id in EXERCISES:
        return EXERCISES[exercise_id]
    near = difflib.get_close_matches(str(exercise_id), EXERCISES, n=1, cutoff=0.3)
    remedy = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(EXERCISES)}."
    raise InputError(f"There is no exercise {exercise_id!r}.", remedy)


def judge(exercise_id: str, answer: Any) -> Verdict:
    """The verdict on `answer`; what the answer raises becomes a failed verdict of one line. Raises InputError for an unknown id."""
    exercise = find(exercise_id)
    try:
        return UNSOLVED if is_stub(answer) else exercise.check(answer)
    except (Exception, SystemExit) as error:
        # The answer is somebody's code: whatever it raises is part of the answer.
        return failed(f"It raised {type(error).__name__}{_first_line(error)}.")


def _first_line(error: BaseException) -> str:
    """What an exception says, after a colon; "" where it says nothing, or cannot."""
    try:
        return next((f": {line}" for line in str(error).strip().splitlines()), "")
    except Exception:
        return ""


def check(exercise_id: str, answer: Any) -> None:
    """Judge an answer and print the result. Never raises: a stub, a wrong answer and an unknown id each print a line."""
    try:
        exercise = find(exercise_id)
    except InputError as error:
        say(f"{error.problem} {error.remedy}")
        return
    verdict = judge(exercise_id, answer)
    if not verdict.unsolved:
        _keep(exercise, verdict)
    if verdict.passed:
        say(f"Exercise {exercise.id}: solved. {verdict.message}")
        return
    if verdict.unsolved:
        _hints_shown[exercise.id] = max(1, _hints_shown[exercise.id])
        say(f"Exercise {exercise.id}: not solved yet. {_hint_text(exercise, 1)}")
        return
    say(f"Exercise {exercise.id}: not there yet. {verdict.message}")
    hint(exercise.id)


def _keep(exercise: Exercise, verdict: Verdict) -> None:
    """Count the try in the learner's own file; a file that cannot be written is no reason to fail."""
    from nbtools.exercises.progress import note_try

    try:
        note_try(exercise.id, verdict.passed, _hints_shown[exercise.id])
    except (InputError, OSError) as error:
        say(f"(Your progress could not be kept: {str(error).splitlines()[0]})")


def hint(exercise_id: str) -> None:
    """Print the next hint; each call goes one step further, and after the last it stays there. Never raises."""
    try:
        exercise = find(exercise_id)
    except InputError as error:
        say(f"{error.problem} {error.remedy}")
        return
    _hints_shown[exercise.id] = min(_hints_shown[exercise.id] + 1, len(exercise.hints))
    say(_hint_text(exercise, _hints_shown[exercise.id]))


def _hint_text(exercise: Exercise, number: int) -> str:
    return f"Hint {number} of {len(exercise.hints)}: {exercise.hints[number - 1]}"


def is_stub(answer: Any) -> bool:
    """Whether `answer` is what a stub holds: `...`, None, or a list, tuple or dict with one of them inside."""
    if answer is None or answer is ...:
        return True
    if isinstance(answer, dict):
        return any(map(is_stub, answer.values()))
    return isinstance(answer, (list, tuple)) and any(map(is_stub, answer))


def solved_copy(notebook: NotebookNode, answers: Mapping[str, str] | None = None) -> NotebookNode:
    """A copy of `notebook` in which each exercise's stub is replaced by its solution, or by `answers[id]` where that is given.

    An exercise is a code cell tagged `exercise` whose last line is its check; all above that line is the stub. Raises InputError
    for a tagged cell without a check at its end.
    """
    filled = copy.deepcopy(notebook)
    for number, cell in enumerate(filled.cells, 1):
        if cell.cell_type == "code" and "exercise" in cell.metadata.get("tags", ()):
            last = cell.source.rstrip().rpartition("\n")[2]
            found = CHECK_LINE.match(last)
            if not found:
                problem = f"Exercise cell {number} ends in {last!r}." if last else f"Exercise cell {number} is empty."
                raise InputError(problem, 'Its last line must be check("NN-word", answer); the course\'s own notebook has it.')
            source = (answers or {}).get(found["id"]) or find(found["id"]).solution
            cell.source = f"{source.strip()}\n\n{last}"
            cell.outputs, cell.execution_count = [], None
    return filled
