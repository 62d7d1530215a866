"""The notebooks' cell that installs the course in Colab: there it installs exactly this version, and elsewhere it does nothing."""

from __future__ import annotations

import builtins
import importlib.util
import os
import re
from typing import Any

import nbformat
import pytest

import nbtools
from nbtools.system import name_host
from tools.install_cell import ID, ROOT, main, source, with_cell

ADDRESS = "https://github.com/somebody/attention-to-finetuning"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
COLAB = {"COLAB_RELEASE_TAG": "release-colab_20260801"}
OTHERS: list[dict[str, str]] = [{}, {"TERM": "xterm"}, {"BINDER_SERVICE_HOST": "10.0.0.1"}, {"JUPYTERHUB_USER": "ada"}]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a cell's code as a kernel would; the lines it gave to %pip."""

    def run(code: str, variables: dict[str, str], missing: bool = True, wheel: bool = True) -> list[str]:
        asked: list[str] = []

        class Shell:
            def run_line_magic(self, name: str, line: str) -> None:
                assert name == "pip"
                asked.append(line)

        for name in [name for name in os.environ if name.startswith(("COLAB_", "KAGGLE_"))]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if missing and name == "nbtools" else find(name))
        monkeypatch.setattr(builtins, "get_ipython", Shell, raising=False)
        monkeypatch.setattr(os.path, "exists", lambda path: wheel)
        exec(code, {})
        return asked

    return run


def test_every_notebook_holds_the_cell_as_it_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check=True) == 0, capsys.readouterr().out
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        assert [at for at, cell in enumerate(cells) if cell.id == ID] == [1]
        assert not cells[1].outputs and "parameters" not in cells[1].metadata.get("tags", [])


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_it_acts_in_colab_and_nowhere_else(address: str, run: Any) -> None:
    code = source(address, nbtools.__version__)
    assert name_host(COLAB) == "colab" and len(run(code, COLAB)) == 1
    assert [run(code, variables) for variables in OTHERS] == [[]] * len(OTHERS)


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_where_the_course_is_installed_it_does_nothing(address: str, run: Any) -> None:
    assert run(source(address, nbtools.__version__), COLAB, missing=False) == []


def test_without_an_address_it_installs_the_learners_wheel_of_this_version(run: Any) -> None:
    code = source("", "1.2.3")
    assert run(code, COLAB) == ['install -q "/content/attention_to_finetuning-1.2.3-py3-none-any.whl[course]"']


def test_without_an_address_and_a_wheel_it_says_what_to_do(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(source("", "1.2.3"), COLAB, wheel=False) == []
    said = capsys.readouterr().out
    assert said.startswith("The course is not installed here. Put its wheel among Colab's files") and "pip wheel" in said


def test_with_an_address_it_installs_the_tag_of_this_version_and_never_the_constraints(run: Any) -> None:
    [line] = run(source(ADDRESS + "/", "1.2.3"), COLAB)
    assert line == f'install -q "attention-to-finetuning[course] @ git+{ADDRESS}@v1.2.3"'
    assert not re.search(r"constraints|(^|\s)-c\s|--upgrade|-U\b", line)


def test_a_new_cell_leaves_outputs_alone_and_counts_on() -> None:
    shown = {"output_type": "execute_result", "execution_count": 2, "data": {}, "metadata": {}}
    cells = [
        {"cell_type": "markdown", "id": "title"},
        {"cell_type": "code", "id": "a", "execution_count": 1, "outputs": []},
        {"cell_type": "code", "id": "b", "execution_count": 2, "outputs": [shown]},
    ]
    once = with_cell({"cells": cells}, "x = 1\ny = 2")
    assert [(cell["id"], cell.get("execution_count")) for cell in once["cells"]] == [("title", None), (ID, 1), ("a", 2), ("b", 3)]
    assert once["cells"][3]["outputs"] == [{**shown, "execution_count": 3}]
    again = with_cell(once, "z = 3")
    assert again["cells"][1]["source"] == ["z = 3"] and again["cells"][2:] == once["cells"][2:]
