"""The prompt lab as a learner meets it: notebook 03 opened in JupyterLab, run to its end, and its buttons clicked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.jupyterlab import find_browser, open_page, running_lab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "03_generation.ipynb"
MINUTES = 60_000  # in Playwright's unit; generous, because the machine may be busy
PROMPT = "I watched this film twice, and"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """The hosts that the page asked for anything."""
    return []


@pytest.fixture(scope="module")
def page(place: Path, asked: list[str]) -> Iterator[Page]:
    """JupyterLab with notebook 03 open and every cell run."""
    browser = find_browser()
    folder = place / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    with running_lab(folder, place) as lab, open_page(browser, place) as page:
        page.on("request", lambda request: asked.append(urlsplit(request.url).hostname or ""))
        try:
            run_all_cells(page, lab.url(NOTEBOOK.name))
            yield page
        finally:
            page.screenshot(path=place / "end.png")


def run_all_cells(page: Page, url: str) -> None:
    """Open the notebook, choose Run All Cells from the menu, and wait until every code cell has its number."""
    page.goto(url, timeout=2 * MINUTES)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=2 * MINUTES)
    # The kernel is there once the status bar calls it idle.
    page.get_by_text("Python 3 (ipykernel) | Idle", exact=True).wait_for(timeout=3 * MINUTES)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    numbered = (
        "count => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].filter(p => /[0-9]/.test(p.textContent)).length === count"
    )
    failed = (
        'document.querySelector(\'[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]\')'
    )
    cells = sum(cell["cell_type"] == "code" for cell in json.loads(NOTEBOOK.read_text(encoding="utf8"))["cells"])
    page.wait_for_function(f"count => {failed} || ({numbered})(count)", arg=cells, timeout=8 * MINUTES)
    assert page.evaluate(f"{failed}?.textContent") is None
    # What is out of sight is not rendered, so it cannot be waited for: bring the end into sight first.
    page.locator(".jp-Notebook .jp-Cell").last.evaluate("cell => cell.scrollIntoView({block: 'end'})")
    page.get_by_role("button", name="Generate", exact=True).wait_for(timeout=MINUTES)


@pytest.fixture(scope="module")
def lab(page: Page) -> Locator:
    """The output cell that holds the prompt lab."""
    found = page.locator(".jp-OutputArea-output", has=page.get_by_role("button", name="Generate", exact=True))
    found.scroll_into_view_if_needed()
    return found


def written(lab: Locator) -> str:
    return lab.locator("textarea:disabled").input_value()


def press(lab: Locator, name: str) -> None:
    lab.get_by_role("button", name=name, exact=True).click()


def wait_for_status(lab: Locator, word: str) -> None:
    lab.get_by_text(word, exact=True).wait_for(timeout=2 * MINUTES)


def test_a_prompt_is_typed_generate_clicked_and_a_text_appears(page: Page, lab: Locator, place: Path) -> None:
    lab.locator("textarea:enabled").fill(PROMPT)
    press(lab, "Generate")
    wait_for_status(lab, "done")
    page.screenshot(path=place / "generated.png")
    text = written(lab)
    assert text.startswith(PROMPT) and len(text) > len(PROMPT) + 20
    assert lab.get_by_role("button", name="Stop", exact=True).is_disabled()


def test_the_same_seed_writes_the_same_text_again_and_another_seed_another(lab: Locator) -> None:
    first = written(lab)
    seed = lab.locator(".widget-inline-hbox", has_text="seed").locator("input")
    for value, same in (("1", False), ("0", True)):
        seed.fill(value)
        seed.blur()
        lab.get_by_text("done", exact=True).wait_for(state="detached", timeout=MINUTES)  # a changed knob clears the line
        press(lab, "Generate")
        wait_for_status(lab, "done")
        assert (written(lab) == first) is same


def test_the_leaders_follow_the_prompt(lab: Locator) -> None:
    before = lab.locator("table").inner_text()
    lab.locator("textarea:enabled").fill("The old man and the")
    lab.locator("textarea:enabled").blur()
    lab.page.wait_for_function("([table, before]) => table.innerText !== before", arg=[lab.locator("table").element_handle(), before])
    assert "%" in lab.locator("table").inner_text()


def test_stop_ends_a_long_text_and_keeps_what_is_written(page: Page, lab: Locator, place: Path) -> None:
    length = lab.locator(".widget-inline-hbox", has_text="length").locator(".widget-readout")
    length.fill("400")
    length.press("Enter")
    lab.locator("textarea:enabled").fill("Once upon a time")
    press(lab, "Generate")
    output = lab.locator("textarea:disabled").element_handle()
    page.wait_for_function("box => box.value.startsWith('Once upon a time') && box.value.length > 30", arg=output, timeout=2 * MINUTES)
    press(lab, "Stop")
    wait_for_status(lab, "stopped")
    page.screenshot(path=place / "stopped.png")
    text = written(lab)
    assert text.startswith("Once upon a time") and len(text) > 30
    assert lab.get_by_role("button", name="Generate", exact=True).is_enabled()


def test_the_rest_of_the_notebook_ran_without_an_error(page: Page) -> None:
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.locator(".jp-OutputArea-output img").count() >= 4


def test_the_page_needs_no_network(page: Page, asked: list[str]) -> None:
    assert set(asked) <= {"127.0.0.1", ""} and "127.0.0.1" in asked
