"""Self-marking exercises: their definition, the check of an answer, and hints in steps."""

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
    """The result of a check.

    passed    whether the answer is right
    message   one line: what a right answer shows, or what was expected and the likely misconception
    unsolved  the answer is still the stub; `message` is then not used
    """

    passed: bool
    message: str = ""
    unsolved: bool = False


def solved(message: str) -> Verdict:
    """A verdict for a right answer; `message` says what it shows."""
    return Verdict(True, message)


def failed(expected: str, misconception: str = "") -> Verdict:
    """A verdict for a wrong answer.

    expected       what was expected, as a sentence
    misconception  the misconception that usually leads to this answer, if it was recognized
    """
    return Verdict(False, f"{expected} {misconception}".strip())


UNSOLVED = Verdict(False, unsolved=True)


@dataclass(frozen=True)
class WrongAnswer:
    """A known wrong answer.

    source         code that replaces the stub
    misconception  the sentence that the check prints for it
    """

    source: str
    misconception: str


@dataclass(frozen=True)
class Exercise:
    """One exercise as data.

    id          notebook number, dash, word: "01-scale"
    title       a few words
    minutes     expected time
    difficulty  1 to 3
    task        one line
    hints       from a first idea to nearly the answer
    check       takes the answer and returns a Verdict; if it raises, `judge` reports the error in one line
    solution    the lines that replace the stub; the last name that they assign is the answer
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
        """The Markdown cell before the stub: a heading line, the task, and the first hint, folded."""
        stars = "★" * self.difficulty + "☆" * (3 - self.difficulty)
        return (
            f"**Exercise {self.id}** · {self.minutes} minutes · difficulty {stars}\n\n{self.task}\n\n"
            f"<details><summary>Hint</summary>\n\n{self.hints[0]}\n\n</details>"
        )


class _Registry(Mapping[str, Exercise]):
    """Every exercise by id; the modules of this package are imported on first use."""

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
    except (Exception, SystemExit) as error:
        # The answer is a learner's code: whatever it raises is part of the answer.
        return failed(f"It raised {type(error).__name__}{_first_line(error)}.")


def _first_line(error: BaseException) -> str:
    """A colon and the first line of the exception's message; "" if it has none or str() itself fails."""
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
        _record(exercise, verdict)
    if verdict.passed:
        say(f"Exercise {exercise.id}: solved. {verdict.message}")
        return
    if verdict.unsolved:
        _hints_shown[exercise.id] = max(1, _hints_shown[exercise.id])
        say(f"Exercise {exercise.id}: not solved yet. {_hint_text(exercise, 1)}")
        return
    say(f"Exercise {exercise.id}: not there yet. {verdict.message}")
    hint(exercise.id)


def _record(exercise: Exercise, verdict: Verdict) -> None:
    """Count the attempt in the learner's progress file; if the file cannot be written, print why and continue."""
    from nbtools.exercises.progress import note_try

    try:
        note_try(exercise.id, verdict.passed, _hints_shown[exercise.id])
    except (InputError, OSError) as error:
        say(f"(Your progress could not be saved: {str(error).splitlines()[0]})")


def hint(exercise_id: str) -> None:
    """Print the next hint; after the last one, print it again. Never raises."""
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
    """Whether `answer` is that of an unchanged stub: `...`, None, or a list, tuple or dict that contains one of them."""
    if answer is None or answer is ...:
        return True
    if isinstance(answer, dict):
        return any(map(is_stub, answer.values()))
    return isinstance(answer, (list, tuple)) and any(map(is_stub, answer))


def solved_copy(notebook: NotebookNode, answers: Mapping[str, str] | None = None) -> NotebookNode:
    """Copy `notebook` with each exercise's stub replaced by its solution.

    notebook  an exercise is a code cell tagged `exercise` whose last line is its check; everything above that line is the stub
    answers   by exercise id, code to use instead of the solution

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
            source = (answers or {}).get(found["id"]) or find(found["id"]).solution
            cell.source = f"{source.strip()}\n\n{last}"
            cell.outputs, cell.execution_count = [], None
    return filled
