"""Notebook 03 as a learner meets it: opened in JupyterLab, run to its end, and its prompt lab used. The views' own tests are beside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.jupyterlab import HANG, find_browser, open_page, run_all, running_lab

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "03_generation.ipynb"
PROMPT = "I watched this film twice, and"

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("lab")]


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """The hosts that the page asked for anything."""
    return []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, asked: list[str]) -> Iterator[Page]:
    """JupyterLab with notebook 03 open and every cell run."""
    browser, place = find_browser(), tmp_path_factory.mktemp("lab")
    folder = place / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    cells = sum(cell["cell_type"] == "code" for cell in json.loads(NOTEBOOK.read_text(encoding="utf8"))["cells"])
    with running_lab(folder, place) as lab, open_page(browser, place) as page:
        page.on("request", lambda request: asked.append(urlsplit(request.url).hostname or ""))
        try:
            run_all(page, lab.url(NOTEBOOK.name), cells)
            yield page
        finally:
            page.screenshot(path=place / "end.png")


def test_a_prompt_is_typed_generate_clicked_and_a_text_appears(page: Page) -> None:
    lab = page.locator("section.nbt").first
    lab.scroll_into_view_if_needed()
    lab.get_by_label("Prompt", exact=True).fill(PROMPT)
    lab.get_by_role("button", name="Generate", exact=True).click()
    lab.locator("xpath=..").locator(".nbt-status").get_by_text("done", exact=True).wait_for(timeout=HANG)
    assert (lab.locator(".nbt-text").text_content() or "").startswith(PROMPT) and lab.locator(".nbt-token").count() > 5


def test_the_rest_of_the_notebook_ran_without_an_error(page: Page) -> None:
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.locator(".jp-OutputArea-output img").count() >= 4


def test_the_page_needs_no_network(page: Page, asked: list[str]) -> None:
    assert set(asked) <= {"127.0.0.1", ""} and "127.0.0.1" in asked
