"""The parameter form: its fields are the notebook's, and what it says runs."""

from __future__ import annotations

import pytest

from nbtools.errors import InputError
from nbtools.notebooks import choose_notebooks, read_parameters
from nbtools.widgets import ParameterForm
from tests.gate import HANG_SECONDS
from tests.widgets.front_end import FrontEnd, ask


def fill(form: ParameterForm, **texts: str) -> None:
    form.texts = {**form.texts, **texts}


def test_its_fields_are_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    form = ParameterForm("04")
    declared = read_parameters(choose_notebooks(["04"])[0])
    assert [field["name"] for field in form.shown["fields"]] == list(declared) and form.values == {}
    assert form.shown["values"] == {} and form.shown["title"] == "04_finetuning"


def test_what_is_typed_is_checked_and_becomes_a_value() -> None:
    form = ParameterForm("04")
    fill(form, max_steps="20", learning_rate="3e-4", lora="True", prompt="It's $HOME; good")
    assert form.values == {"max_steps": 20, "learning_rate": 3e-4, "lora": True, "prompt": "It's $HOME; good"}
    assert form.shown["values"] == {"max_steps": "20", "learning_rate": "0.0003", "lora": "True", "prompt": "It's $HOME; good"}


def test_an_edited_field_changes_only_itself() -> None:
    form = ParameterForm("04")
    ask(form, "edit", name="max_steps", text="20")
    ask(form, "edit", name="seed", text="3")
    assert form.values == {"max_steps": 20, "seed": 3} and form.shown["values"] == {"max_steps": "20", "seed": "3"}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("max_steps", "many", "whole number"),
        ("learning_rate", "0", "above 0"),
        ("profile", "minny", "mini"),
        ("seed", "-1", "from 0"),
        ("prompt", "hf_" + "a" * 30, "secret"),
    ],
)
def test_a_wrong_value_is_said_beside_its_field_and_nothing_runs(name: str, text: str, problem: str) -> None:
    form = ParameterForm("04")
    fill(form, **{name: text})
    assert problem in form.problems[name] and name not in form.values and name not in form.shown["values"]
    assert text not in form.problems[name] or problem != "secret"
    assert "not set" in ask(form, "apply").error
    assert ask(form, "estimate").error and not form.running
    assert ask(form, "reset").error == "" and form.problems == {} and form.shown["values"] == {}


def test_set_here_does_what_running_the_cell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: dict[str, object] = {}

    class Shell:
        push = staticmethod(pushed.update)

    monkeypatch.setattr("IPython.get_ipython", lambda: Shell())
    form = ParameterForm("04")
    fill(form, max_steps="7")
    reply = ask(form, "apply")
    assert reply.error == "" and pushed["max_steps"] == 7 and pushed["profile"] == "auto" and pushed["learning_rate"] is None
    assert set(pushed) == set(form.parameters) and "max_steps = 7" in reply.result["notice"]


@pytest.mark.slow
def test_the_estimate_is_the_budgets() -> None:
    form = ParameterForm("04")
    fill(form, max_steps="3", max_reviews="60")
    front_end = FrontEnd(form)
    id = front_end.send("estimate")
    cost = form.wait(HANG_SECONDS)
    assert cost.startswith(("About ", "Time unknown")) and "GB of memory" in cost and not form.running
    assert front_end.reply(id).result["cost"] == cost


def test_a_notebook_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError):
        ParameterForm("77")


def test_its_static_form_and_its_plain_text() -> None:
    form = ParameterForm("04")
    fill(form, prompt="<b>bold</b>")
    assert "<b>" not in form.static_html() and "&lt;b&gt;" in form.static_html()
    assert repr(form) == "ParameterForm('04_finetuning', prompt='<b>bold</b>')"
