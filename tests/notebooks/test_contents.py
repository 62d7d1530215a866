"""The contents of every notebook of the course: opening box, parameters, exercises, ending, and stored outputs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbtools.exercises import EXERCISES
from nbtools.notebooks import read_notebook, read_parameters

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
COMPARED = "nbval-check-output"  # the tag of cells whose stored output nbval compares
LONGEST = 18  # lines of a code cell that can still be read aloud

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "") -> list[Any]:
    content = nbformat.read(path, as_version=4)
    return [cell for cell in content.cells if kind in ("", cell.cell_type)]


def tagged(path: Path, tag: str) -> list[Any]:
    return [cell for cell in cells(path) if tag in cell.metadata.get("tags", [])]


def output_texts(path: Path) -> list[str]:
    """Every text in the stored outputs."""
    found = []
    for cell in cells(path, "code"):
        for output in cell.outputs:
            values = [output.get("text", ""), *output.get("data", {}).values(), *output.get("traceback", [])]
            found += [value for value in values if isinstance(value, str)]
    return found


def test_the_course_is_numbered_without_a_gap() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) == 10


def test_there_are_forty_exercises_each_in_a_notebook_once() -> None:
    found = [re.findall(r'check\("([\w-]+)"', cell.source)[0] for path in NOTEBOOKS for cell in tagged(path, "exercise")]
    assert sorted(found) == sorted(EXERCISES) and len(found) >= 40


@every_notebook
def test_the_file_is_valid_and_its_cells_keep_their_names(path: Path) -> None:
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert (content.nbformat, content.nbformat_minor) == (4, 5)
    assert content.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in content.cells]
    assert len(ids) == len(set(ids))
    # Names that a person gave, not the eight hexadecimal digits that tools make up anew.
    assert [name for name in ids if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or re.fullmatch(r"[0-9a-f]{8}", name)] == []


@every_notebook
def test_it_opens_with_its_box_parameters_and_cost(path: Path) -> None:
    title, install, parameters, imports = cells(path)[:4]
    assert install.id == "install" and not install.outputs  # its source is held in test_install_cell.py
    assert title.cell_type == "markdown" and title.source.startswith(f"# {path.stem[:2]} · ")
    assert "You will be able to" in title.source and "You need first" in title.source
    assert parameters.metadata.tags == ["parameters"] and tagged(path, "parameters") == [parameters]
    model = "model or profile" if "model: str = None  # a Hub name or a folder" in parameters.source else "profile"
    assert imports.source.splitlines()[-1] == f'box("{path.stem}", {model}, globals())'


@every_notebook
def test_each_parameter_has_a_type_a_value_and_a_comment(path: Path) -> None:
    declared = read_parameters(read_notebook(path))
    [cell] = tagged(path, "parameters")
    lines = cell.source.splitlines()
    assert len(lines) == len(declared) and next(iter(declared)) == "profile"
    for line, parameter in zip(lines, declared.values(), strict=True):
        assert re.fullmatch(r"\w+: \w+(\[\w+\])? = .+?  # \S.+", line), line
        assert parameter.kind and parameter.help
    assert declared["profile"].default == "auto"


@every_notebook
def test_code_is_short_and_valid(path: Path) -> None:
    for cell in cells(path, "code"):
        ast.parse(cell.source)
        if "parameters" not in cell.metadata.get("tags", []):
            assert len(cell.source.splitlines()) <= LONGEST, cell.id


@every_notebook
def test_it_has_two_exercises_or_more_each_with_its_task_and_hint(path: Path) -> None:
    exercises = tagged(path, "exercise")
    assert len(exercises) >= 2
    everything = cells(path)
    for cell in exercises:
        stub, check = cell.source.rsplit("\n", 1)
        found = re.fullmatch(r'check\("(\d\d-[\w-]+)", \w+\)', check)
        assert found and found[1].startswith(path.stem[:2]), check
        assert found[1] in EXERCISES and "..." in stub
        task = everything[everything.index(cell) - 1]
        heading = rf"\*\*Exercise {found[1]}\*\* · \d+ minutes · difficulty (★☆☆|★★☆|★★★)\n"
        assert task.cell_type == "markdown" and re.match(heading, task.source)
        assert "<details><summary>Hint</summary>" in task.source and "</details>" in task.source


@every_notebook
def test_it_closes_with_what_was_learned_where_next_and_the_kernel(path: Path) -> None:
    last = cells(path)[-1]
    assert last.cell_type == "markdown"
    for words in ("What you have learned", "Where next", "Stretch goal", "shut"):
        assert words.lower() in last.source.lower(), words
    assert "kernel" in last.source.lower()


@every_notebook
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", cell.source):
            if not re.match(r"[a-z]+:", target):
                assert (path.parent / target).exists(), target


@every_notebook
def test_no_text_says_to_install_another_projects_nbtools(path: Path) -> None:
    for cell in cells(path):
        assert not re.search(r"install\s+(-\S+\s+)*['\"]?nbtools\b", cell.source), cell.id


@every_notebook
def test_what_nbval_compares_is_stored(path: Path) -> None:
    """nbval compares nothing for a cell without a stored output."""
    compared = tagged(path, COMPARED)
    assert compared
    for cell in compared:
        assert cell.execution_count and cell.outputs, f"{cell.id}: run `make refresh`"
        assert all(output.output_type in ("stream", "execute_result", "display_data") for output in cell.outputs), cell.id


@every_notebook
def test_stored_outputs_come_from_one_run_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1)), "run `make refresh`"


@every_notebook
def test_stored_outputs_hold_no_error_and_nothing_from_standard_error(path: Path) -> None:
    for cell in cells(path, "code"):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.id


@every_notebook
def test_no_live_widget_is_stored(path: Path) -> None:
    content = nbformat.read(path, as_version=4)
    assert not set(content.metadata) & {"widgets", "papermill"}
    for cell in cells(path, "code"):
        for output in cell.outputs:
            assert not [mime for mime in output.get("data", {}) if "widget" in mime], cell.id


@every_notebook
def test_stored_outputs_contain_no_path_of_the_machine_that_made_them(path: Path) -> None:
    for text in output_texts(path):
        found = re.search(
            r"(?<![\w.~/])/(home|root|Users|tmp|var|opt|mnt|work|usr|private)/\S*|[A-Z]:\\\\?Users\S*|\bat 0x[0-9a-f]{6,}", text
        )
        assert not found, found[0]


@every_notebook
def test_every_picture_has_alternative_text(path: Path) -> None:
    for cell in cells(path, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                assert len(data.get("text/plain", "")) > 20 and "object at" not in data["text/plain"], cell.id
