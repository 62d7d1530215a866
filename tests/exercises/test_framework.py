"""The framework on two small exercises: nothing that a learner enters may raise, and hints come in steps."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from nbtools.errors import InputError
from nbtools.exercises import answer_of, check, framework, function_exercise, hint, judge, solved_copy
from nbtools.exercises.definition import Exercise, Verdict, failed, function_source, is_stub, same, show

DOUBLE = function_exercise(
    "77-double",
    "Double",
    hints=("first nudge", "second nudge"),
    signature="double(x)",
    solution="2 * x",
    wrong={"x": "Nothing was doubled.", "x.upper()": "Numbers have no upper case."},
    trials=[(2,), (5,), ([1],)],
    praise="Twice is twice.",
)


def _check_seven(answer):
    return Verdict(True, "Lucky.") if answer == 7 else failed("7 was expected.")


@pytest.fixture
def registry(monkeypatch):
    number = Exercise("77-number", "Number", ("seven",), _check_seven, "answer = 7", {"answer = 8": "7 was expected."})
    found = {"77-double": DOUBLE, "77-number": number}
    monkeypatch.setattr(framework, "EXERCISES", found)
    framework._hints_shown.clear()
    return found


def _output(capsys) -> str:
    return capsys.readouterr().out


@pytest.mark.parametrize("stub", [..., None, [...], {"a": None}, (1, ...), lambda x: ..., lambda x: None, lambda x: [...]])
def test_a_stub_prints_not_solved_yet_and_the_first_hint(registry, capsys, stub):
    check("77-double", stub)
    assert _output(capsys) == "Exercise 77-double: not solved yet. Hint 1 of 2: first nudge\n"


def test_a_right_answer_is_praised_in_one_line(registry, capsys):
    check("77-double", lambda x: x + x)
    assert _output(capsys) == "Exercise 77-double: solved. Twice is twice.\n"
    check("77-number", 7)
    assert _output(capsys) == "Exercise 77-number: solved. Lucky.\n"


def test_a_known_wrong_answer_gets_its_misconception(registry, capsys):
    check("77-double", lambda x: x)
    assert _output(capsys) == (
        "Exercise 77-double: not there yet. For (2) it should give 4; it gave 2. Nothing was doubled.\nHint 1 of 2: first nudge\n"
    )


def test_a_known_wrong_answer_that_raises_is_recognized(registry):
    verdict = judge("77-double", lambda x: x.lower())
    assert not verdict.passed
    assert "raised AttributeError" in verdict.message
    assert verdict.message.endswith("Numbers have no upper case.")


def test_an_unknown_wrong_answer_gets_the_expected_value_and_no_misconception(registry):
    assert judge("77-double", lambda x: 3).message == "For (2) it should give 4; it gave 3."


def test_wrong_answers_show_the_next_hint_and_the_last_one_only_on_request(registry, capsys):
    check("77-double", ...)
    for _ in range(2):
        _output(capsys)
        check("77-double", lambda x: 3)
        assert _output(capsys).splitlines()[-1] == 'hint("77-double") shows the last hint, which is nearly the answer.'
    hint("77-double")
    assert _output(capsys) == "Hint 2 of 2: second nudge\n"
    hint("77-number")
    assert _output(capsys) == "Hint 1 of 1: seven\n"


class _Hostile:
    """Cannot be compared or shown."""

    def __eq__(self, other):
        raise RuntimeError("no comparing\nsecond line")

    def __repr__(self):
        raise RuntimeError("no showing")

    __hash__ = None


@pytest.mark.parametrize("answer", [_Hostile(), 3, "text", lambda: 1, lambda x: 1 / 0, lambda x: _Hostile(), type, float("nan")])
@pytest.mark.parametrize("exercise_id", ["77-double", "77-number"])
def test_check_never_raises_and_always_prints_a_line(registry, capsys, exercise_id, answer):
    check(exercise_id, answer)
    first, *rest = _output(capsys).splitlines()
    assert first.startswith(f"Exercise {exercise_id}: not there yet. ")
    assert len(rest) == 1
    assert rest[0].startswith(("Hint ", "hint("))


def test_an_answer_that_forgets_to_return_in_one_case_is_wrong_not_a_stub(registry):
    verdict = judge("77-double", lambda x: 2 * x if x == 2 else None)
    assert not verdict.unsolved
    assert verdict.message == "For (5) it should give 10; it gave None."


def test_a_called_function_gets_the_hint_to_pass_its_name(registry):
    assert "Leave out the parentheses" in judge("77-double", 4).message


@pytest.mark.parametrize("function", [check, lambda exercise_id, answer: hint(exercise_id)])
@pytest.mark.parametrize(("wrong_id", "expected"), [("77-duble", "Did you mean '77-double'?"), (None, "There is no exercise None.")])
def test_an_unknown_id_prints_one_line_with_the_nearest(registry, capsys, function, wrong_id, expected):
    function(wrong_id, 1)
    out = _output(capsys)
    assert expected in out
    assert out.count("\n") == 1


def test_an_answer_that_changes_its_arguments_in_place_is_told_so(registry):
    def spoil(x):
        if isinstance(x, list):
            x += x
            return x
        return 2 * x

    for _ in range(2):  # the exercise's own arguments are not spoilt
        verdict = judge("77-double", spoil)
        assert not verdict.passed and "changed in place" in verdict.message
    assert judge("77-double", lambda x: x + x).passed


def test_an_answer_is_called_once_per_trial_so_that_what_it_prints_comes_once(registry, capsys):
    assert judge("77-double", lambda x: print("looking at", x) or x + x).passed
    lines = capsys.readouterr().out.splitlines()
    assert lines and len(lines) == len(set(lines))


def test_a_forgotten_return_is_told_as_such(registry):
    def forgot(x):
        x + x

    assert "Is `return` missing" in judge("77-double", forgot).message


def test_results_are_compared_by_value_and_tolerance():
    torch = pytest.importorskip("torch")
    assert same(torch.tensor([1.0, 2.0]), [1.0, 2.00001])
    assert not same(torch.tensor([1.0, 2.0]), [1.0, 2.1])
    assert not same(torch.ones(2, 2), torch.ones(4))
    assert same(float("nan"), float("nan")) and same(float("inf"), float("inf"))
    assert not same(float("inf"), 1e300) and not same("1", 1) and not same(None, 0)
    assert same(1e9, 1e9 + 1) and not same(1e9, 1e9 + 1, tolerance=0.0)
    assert show(torch.arange(9).float()) == "[0, 1, 2, 3, 4, 5, …]"
    assert len(show("x" * 500)) < 70


def test_a_stub_is_not_taken_for_zero_or_nothing():
    assert not any(map(is_stub, (0, "", False, [], {}, 0.0)))


def test_the_answer_is_the_last_name_introduced():
    assert answer_of("a = 1\nb = a + 1") == 2
    assert answer_of("import math\ndef f(x):\n    return math.pi * x")(0) == 0


def _notebook():
    stub = 'def double(x):\n    return ...          # your turn\n\ncheck("77-double", double)'
    cell = new_code_cell(stub, metadata={"tags": ["exercise"]}, execution_count=3)
    return new_notebook(cells=[new_markdown_cell("# Title"), cell, new_code_cell("double(3)")])


def test_a_solved_copy_replaces_each_stub_and_leaves_the_original_alone(registry):
    notebook = _notebook()
    filled = solved_copy(notebook)
    assert filled.cells[1].source == 'def double(x):\n    return 2 * x\n\ncheck("77-double", double)'
    assert filled.cells[1].execution_count is None
    assert "your turn" in notebook.cells[1].source
    assert [filled.cells[at].source for at in (0, 2)] == [notebook.cells[at].source for at in (0, 2)]


def test_an_exercise_cell_without_a_check_at_its_end_is_refused(registry):
    notebook = _notebook()
    notebook.cells[1].source += "\nprint('more')"
    with pytest.raises(InputError, match="ends in"):
        solved_copy(notebook)


def test_the_body_of_an_answer_is_an_expression_or_a_block():
    assert function_source("f(x)", "2 * x") == "def f(x):\n    return 2 * x"
    block = """
        y = 2 * x
        return y
    """
    assert function_source("f(x)", block, "import math") == "import math\n\ndef f(x):\n    y = 2 * x\n    return y"


def test_lists_become_tensors_where_an_exercise_asks_for_them(registry):
    exercise = function_exercise(
        "77-mean", "Mean", hints=("sum",), signature="mean(x, n)", solution="x.sum() / n", wrong={"x.sum()": "Divide."},
        trials=[([1.0, 3.0], 2)], praise="Right.", tensors=True,
    )  # fmt: skip
    assert exercise.check(lambda x, n: x.mean()).passed
    assert exercise.check(lambda x, n: x.sum()).message == "For ([1, 3], 2) it should give 2; it gave 4. Divide."
