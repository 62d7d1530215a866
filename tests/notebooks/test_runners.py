"""Notebooks with live views, executed by papermill and nbconvert: the stored outputs, and the page in a browser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from tests.browser.jupyterlab import find_browser, open_page, run_all, running_lab

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow(40)]
TEXT = "The plot was thin, but the acting was good."
CELLS = [
    "import nbtools\nfrom tests.small_models import tiny\nlm = tiny()",
    "nbtools.PromptLab(lm, 'It was', max_new_tokens=4)",
    f"nbtools.AttentionExplorer(lm, {TEXT!r})",
    f"nbtools.TokenInspector(lm, nbtools.pack([{TEXT!r}] * 4, lm, 16))",
    "nbtools.ParameterForm('04')",
    "nbtools.ParameterForm('77')",
    "nbtools.TrainingMonitor('no such run')",
    "print('the last cell')",
]
SHOWN = [
    "next token",
    "an image",
    "share of the loss",
    "Parameters of 04_finetuning",
    "no notebook called '77'",
    "no run in",
    "the last cell",
]
RUNNERS = {
    "papermill": [
        ["papermill", "views.ipynb", "out.ipynb", "--no-progress-bar", "-k", "python3"],
        ["nbconvert", "--to", "html", "out.ipynb"],
    ],
    "nbconvert": [["nbconvert", "--execute", "--to", "html", "--output", "out", "views.ipynb"]],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A learner's own folder, outside the clone, with one notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, tmp_path / "views.ipynb")
    return tmp_path


def run(folder: Path, command: list[str]) -> None:
    """A normal environment, without the variables that ask for headless runs."""
    apart = {name: value for name, value in os.environ.items() if name not in {"NBTOOLS_HEADLESS", "NBTOOLS_NOTEBOOKS"}}
    path = os.pathsep.join([str(Path(__file__).parents[2]), apart.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env={**apart, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def outputs(page: Page) -> list[Any]:
    """For each output on nbconvert's page: its text, its height in pixels, and whether it contains a picture."""
    script = """all => all.map(one => [one.innerText, one.getBoundingClientRect().height,
        [...one.querySelectorAll('img')].some(image => image.complete && image.naturalWidth > 100)])"""
    return page.locator(".jp-OutputArea-output").evaluate_all(script)


@pytest.mark.parametrize("runner", list(RUNNERS))
def test_an_executed_notebook_shows_the_static_form_of_every_view(
    runner: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With stored widget state, which nbconvert prefers, each view was a blank line of 29 pixels."""
    for command in RUNNERS[runner]:
        run(folder, command)
    if (folder / "out.ipynb").is_file():
        stored = nbformat.read(folder / "out.ipynb", as_version=4)
        assert "widgets" not in stored.metadata
        assert not [mime for cell in stored.cells for output in cell.outputs for mime in output.get("data", {}) if "widget" in mime]
    assert "application/vnd.jupyter.widget" not in (folder / "out.html").read_text(encoding="utf8").split("<body", 1)[1]
    with open_page(find_browser(), tmp_path_factory.mktemp("browser")) as page:
        page.goto((folder / "out.html").as_uri(), wait_until="load")
        seen = outputs(page)
    assert len(seen) == len(SHOWN), seen
    for (text, height, picture), words in zip(seen, SHOWN, strict=True):
        assert picture if words == "an image" else words in text, (words, text[:200])
        assert height > (100 if words in SHOWN[:4] else 10), (words, height)


def test_the_same_notebook_is_live_where_a_person_opens_it(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("lab")
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with running_lab(folder, place, variables=path) as lab, open_page(find_browser(), place) as page:
        run_all(page, lab.url("views.ipynb"), len(CELLS))
        page.locator("section.nbt").nth(3).wait_for(timeout=120_000)
        assert page.locator("section.nbt").count() == 4 and page.get_by_role("button", name="Generate", exact=True).is_visible()
        assert (
            page.get_by_text("ParameterForm cannot be shown.").count() == 1 and page.get_by_text("the last cell", exact=True).count() == 1
        )
