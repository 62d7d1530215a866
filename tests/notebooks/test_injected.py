"""A notebook checks its own parameters, so that plain papermill gives the same errors as `nbtools run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nbtools.errors import InputError
from nbtools.notebooks import box
from nbtools.notebooks.injected import check_injected

DECLARED = """\
profile: str = "mini"  # the model
max_steps: int = None  # None: the profile's own
learning_rate: float = None
temperature: float = 0.7
lora: bool = False
sizes: list[int] = [1, 2]
prompt: str = "x"
"""
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def notebook(injected: str = "", *later: str) -> dict[str, Any]:
    """The global variables of an IPython kernel in which the cells were executed."""
    cells = ["import os", DECLARED, *([f"# Parameters\n{injected}\n"] if injected else []), *later]
    variables: dict[str, Any] = {}
    for cell in cells:
        exec(cell, variables)
    return {**variables, "In": ["", *cells, "%magic is no Python"]}


@pytest.mark.parametrize(
    ("injected", "words"),
    [
        ('max_steps = "20"', "max_steps is the text '20', and must be a whole number"),
        ("max_steps = 20.5", "max_steps must be a whole number"), ("max_steps = 0", "max_steps is 0."),
        ("lora = 'false'", "lora is the text 'false', and must be True or False"), ("lora = 1", "lora must be"),
        ("learning_rate = float('nan')", "learning_rate must be a number"), ("learning_rate = 0", "learning_rate is 0"),
        ("temperature = None", "temperature cannot be None"), ("temperature = -1", "temperature is -1"),
        ("prompt = 3", "prompt must be text"), ("sizes = 'abc'", "sizes is the text"), ("sizes = [1, 'a']", "sizes must be a list"),
        ("profile = 'minni'", "Did you mean 'mini'"), ("max_step = 3", "no option 'max_step'.\n  -> Did you mean 'max_steps'?"),
        ("nothing_like_it = 3", "The options are: profile, max_steps"),
    ],
)  # fmt: skip
def test_an_injected_value_that_does_not_fit_is_refused(injected: str, words: str) -> None:
    """It ended in a traceback in a later cell, "false" was taken for true, or there was only a warning."""
    with pytest.raises(InputError) as refused:
        check_injected(notebook(injected))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "injected", ["", "max_steps = 20\nlearning_rate = 1\nprofile = 'smollm2'", "temperature = 0", "lora = True\nsizes = [3]"]
)
def test_values_that_fit_pass_and_so_do_a_learners_own_variables(injected: str) -> None:
    check_injected(notebook(injected, "mine = 3\nmax_step = 4"))


def test_optional_output_never_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """In a copy outside the clone, another kernel or a plain script, nothing is read from a file."""
    monkeypatch.chdir(tmp_path)
    for variables in ({}, {"In": None}, {"In": [3, "1 +"]}, {"In": ["", "x = 1"]}, {"In": ["", "class A:\n    x: int = 3"]}):
        box("no_such_notebook", "mini", variables)
    box("no_such_notebook", "mini", notebook())
    assert "not been measured" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_checks_its_parameters_in_the_cell_after_them(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf8"))["cells"] if cell["cell_type"] == "code"]
    tagged = next(number for number, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
    assert f'box("{path.stem}", ' in "".join(cells[tagged + 1]["source"]) and ", globals())" in "".join(cells[tagged + 1]["source"])
    source, variables = "".join(cells[tagged]["source"]), dict[str, Any]()
    exec(source, variables)
    check_injected({**variables, "In": ["", source]})
