"""The live views in Notebook 7, which has JupyterLab's cells and a widget manager of its own: each is there, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import nbformat
import pytest

from nbtools.attention import trace_attention
from tests.browser.jupyterlab import HANG, find_browser, open_page, run_all, running_lab
from tests.small_models import mini

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("notebook7")]
TEXT = "The plot was thin."
CELLS = [
    "import nbtools\nlm = nbtools.load_model('mini', verbose=False)",
    "nbtools.PromptLab(lm, 'The movie was', max_new_tokens=8)",
    f"nbtools.AttentionExplorer(lm, {TEXT!r})",
    "nbtools.Microscope(lm, lm, 'The movie was', max_new_tokens=8)",
    "nbtools.TokenInspector(lm, nbtools.pack(['A fine film. I liked it.'] * 20, lm, 16))",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser, place = find_browser(), tmp_path_factory.mktemp("notebook7")
    folder = place / "notebooks"
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, folder / "views.ipynb")
    with running_lab(folder, place, "notebook") as server, open_page(browser, place) as page:
        run_all(page, server.url("views.ipynb"), len(CELLS))
        yield page
        page.screenshot(path=place / "end.png")


def test_every_view_is_there(page: Page) -> None:
    page.wait_for_function("count => document.querySelectorAll('section.nbt').length >= count", arg=len(CELLS) - 1, timeout=HANG)
    names = page.locator("section.nbt").evaluate_all("all => all.map(one => one.getAttribute('aria-label').split(':')[0])")
    assert names == ["Prompt lab", "Attention explorer", "Microscope", "Token inspector"]


def test_a_text_is_written(page: Page) -> None:
    lab = page.locator("section.nbt").nth(0)
    lab.get_by_role("button", name="Generate", exact=True).click()
    lab.locator("xpath=..").locator(".nbt-status").get_by_text("done", exact=True).wait_for(timeout=HANG)
    assert lab.locator(".nbt-token").count() == 8


def test_a_weight_is_read_exactly(page: Page) -> None:
    explorer = page.locator("section.nbt").nth(1)
    matrix = explorer.locator(".nbt-matrix")
    matrix.scroll_into_view_if_needed()
    matrix.focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    weight = trace_attention(mini(), TEXT).weights[0, 0, 2, 0]
    shown = explorer.locator(".nbt-sum tr", has_text="weight = exp").locator("td").nth(1)
    shown.wait_for(timeout=HANG)
    assert float(shown.text_content() or "nan") == pytest.approx(float(weight), rel=1e-4)
