"""A view as one page: what it has computed, or the model inside; no request and no other script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nbtools import AttentionExplorer, Microscope, ParameterForm, PromptLab, TokenInspector, generate
from nbtools.data import pack
from nbtools.errors import InputError, ModelError
from nbtools.models import LanguageModel
from tests.browser.jupyterlab import find_browser, open_page
from tests.site.conftest import changed
from tests.small_models import mini, tiny

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.xdist_group("site-one-page"), pytest.mark.slow(8)]
TEXT = "The sea was calm, and </script><b>nobody</b> had seen it so."
VIEWS: dict[str, Callable[[LanguageModel], Any]] = {
    "PromptLab": lambda lm: PromptLab(lm, TEXT, max_new_tokens=8),
    "AttentionExplorer": lambda lm: AttentionExplorer(lm, TEXT, layer=1, head=2),
    "Microscope": lambda lm: Microscope(lm, changed(tiny()), TEXT, max_new_tokens=8),
    "TokenInspector": lambda lm: TokenInspector(lm, pack([TEXT] * 4, lm, 16)),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(find_browser(), tmp_path_factory.mktemp("chromium")) as page:
        yield page


def opened(page: Page, html: str, place: Path) -> list[str]:
    """Open a page from the disk; what went wrong on it, requests for other files among it."""
    wrong: list[str] = []
    file = place / "view.html"
    file.write_text(html, encoding="utf8")
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: wrong.append(request.url) if request.url != file.as_uri() and not request.url.startswith("blob:") else None,
    )
    page.goto(file.as_uri())
    page.locator("#view[data-state]").wait_for(timeout=60_000)
    assert page.locator("#view").get_attribute("data-state") == "live", page.locator("#view").inner_text()
    return wrong


@pytest.mark.parametrize("model", [False, True], ids=["as it is", "with its model"])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_opens_from_a_disk(browser: Page, tmp_path: Path, name: str, model: bool) -> None:
    html = VIEWS[name](tiny()).to_html(model=model)
    assert len(re.findall("<script", html.partition("<script>")[0])) == 0 and "script-src 'sha256-" in html
    assert opened(browser, html, tmp_path) == []
    assert browser.locator("#view b").count() == 0, "text is text"
    assert browser.locator("#view .nbt").inner_text().strip()


def test_with_its_model_it_writes_what_python_writes(browser: Page, tmp_path: Path) -> None:
    lab = PromptLab(mini(), "The old man", temperature=0.7, top_k=40, top_p=1.0, max_new_tokens=20, seed=3)
    assert opened(browser, lab.to_html(model=True), tmp_path) == []
    browser.get_by_role("button", name="Generate", exact=True).click()
    browser.locator(".nbt-status", has_text="done").wait_for()
    text = "".join(browser.locator(".nbt-text > *").all_text_contents())
    assert text == generate(mini(), "The old man", temperature=0.7, top_k=40, max_new_tokens=20, seed=3)


def test_without_it_the_sliders_work_and_a_request_says_why_it_cannot(browser: Page, tmp_path: Path) -> None:
    lab = PromptLab(tiny(), "The old man", max_new_tokens=8)
    lab.start()
    lab.wait()
    assert opened(browser, lab.to_html(), tmp_path) == []
    assert browser.locator(".nbt-token").count() == len(lab.shown["nodes"]) > 0
    bars = browser.locator(".nbt-top-tokens")
    before = bars.get_attribute("aria-label")
    browser.get_by_label("temperature", exact=True).focus()
    browser.keyboard.press("Home")
    assert bars.get_attribute("aria-label") != before
    browser.get_by_role("button", name="Generate", exact=True).click()
    browser.locator(".nbt-problem", has_text="what was computed").wait_for()


def test_what_cannot_go_into_a_page_is_said() -> None:
    with pytest.raises(InputError, match="no model that could go into a page"):
        ParameterForm("04").to_html(model=True)
    with pytest.raises(ModelError, match="GPT-2 only"):
        PromptLab(tiny("llama"), "It was").to_html(model=True)
