"""Every registered exercise: a stub gets a hint, the solution passes, and each known wrong answer gets its misconception."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from nbtools.exercises import EXERCISES, answer_of, check, judge
from nbtools.exercises.definition import is_stub
from nbtools.exercises.framework import CHECK_LINE, MODULES

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
WRONG = [(exercise.id, source) for exercise in EXERCISES.values() for source in exercise.wrong]


def _exercise_cells(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    return [(before, cell) for before, cell in itertools.pairwise(cells) if "exercise" in cell.metadata.get("tags", ())]


def test_every_exercise_has_its_own_id_hints_and_wrong_answers():
    assert len(EXERCISES) == sum(len(module.EXERCISES) for module in MODULES)
    for exercise in EXERCISES.values():
        assert re.fullmatch(r"\d\d-[a-z0-9-]+", exercise.id) and exercise.title and exercise.hints and exercise.wrong


@pytest.mark.parametrize("exercise_id", EXERCISES)
@pytest.mark.parametrize("stub", [..., None, lambda *arguments: ..., lambda *arguments: None])
def test_an_unsolved_exercise_prints_a_hint_and_does_not_raise(exercise_id, stub, capsys):
    check(exercise_id, stub)
    out = capsys.readouterr().out
    assert out.count("\n") <= 2
    if is_stub(stub):
        assert out.startswith(f"Exercise {exercise_id}: not solved yet. Hint 1 of ")


@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_the_solution_passes(exercise_id):
    verdict = judge(exercise_id, answer_of(EXERCISES[exercise_id].solution))
    assert verdict.passed, verdict.message
    assert verdict.message.strip()
    assert "\n" not in verdict.message


@pytest.mark.parametrize(("exercise_id", "source"), WRONG)
def test_each_wrong_answer_gets_its_misconception(exercise_id, source):
    wrong = EXERCISES[exercise_id].wrong
    verdict = judge(exercise_id, answer_of(source))
    assert not verdict.passed
    assert wrong[source] in verdict.message
    others = [misconception for other, misconception in wrong.items() if other != source]
    assert not any(other in verdict.message for other in others if other not in wrong[source])


@pytest.mark.parametrize("exercise_id", EXERCISES)
@pytest.mark.parametrize("nonsense", [42, "text", [1, 2], lambda: 1, lambda *arguments: "text", lambda *arguments: 1 / 0, object()])
def test_nonsense_fails_in_one_line(exercise_id, nonsense):
    verdict = judge(exercise_id, nonsense)
    assert not verdict.passed
    assert "\n" not in verdict.message


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_contains_each_of_its_exercises_once_and_at_least_two(path):
    found = Counter(CHECK_LINE.match(cell.source.splitlines()[-1])["id"] for _, cell in _exercise_cells(path))
    assert len(found) >= 2
    assert found == Counter(exercise_id for exercise_id in EXERCISES if exercise_id.startswith(path.name[:2]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_introduces_each_exercise_and_its_stub_is_a_stub(path):
    for before, cell in _exercise_cells(path):
        *stub, last = cell.source.splitlines()
        found = CHECK_LINE.match(last)
        exercise = EXERCISES[found["id"]]
        assert before.cell_type == "markdown"
        assert re.match(rf"\*\*Exercise {exercise.id}\*\* · \d+ minutes · difficulty (★☆☆|★★☆|★★★)\n", before.source)
        assert f"<summary>Hint</summary>\n\n{exercise.hints[0]}\n" in before.source
        bound = answer_of("\n".join(stub))
        assert found["answer"] == _last_name(exercise.solution) == _last_name("\n".join(stub))
        if not callable(bound):
            assert is_stub(bound)


def _last_name(source: str) -> str:
    last = [node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.Assign))][-1]
    return last.name if isinstance(last, ast.FunctionDef) else last.targets[0].id
