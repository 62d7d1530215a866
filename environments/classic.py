"""The live views in the classic Notebook (version 6, ipywidgets 7), whose widget manager is of Colab's generation, used in Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from environments.record import Record
from nbtools.attention import trace_attention
from nbtools.models import load_model
from tests.browser.jupyterlab import HANG, open_page, running_lab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TEXT = "The plot was thin."
MONITOR = "nbtools.TrainingMonitor.start('runs/one', max_steps=20, max_reviews=40, block_size=64, batch_size=2, prompts=['The movie was'])"
CELLS = {
    "start": "import nbtools\nlm = nbtools.load_model('mini', verbose=False)",
    "PromptLab": "nbtools.PromptLab(lm, 'The movie was', max_new_tokens=8)",
    "AttentionExplorer": f"nbtools.AttentionExplorer(lm, {TEXT!r})",
    "Microscope": "nbtools.Microscope(lm, lm, 'The movie was', max_new_tokens=8)",
    "TokenInspector": "nbtools.TokenInspector(lm, nbtools.pack(['A fine film. I liked it.'] * 20, lm, 16))",
    "ParameterForm": "nbtools.ParameterForm('04')",
    "TrainingMonitor": MONITOR,
}
NUMBERED = "count => [...document.querySelectorAll('.input_prompt')].filter(one => /\\d/.test(one.textContent)).length === count"


def try_views(record: Record, python: Path, place: Path, browser: str, variables: Mapping[str, str]) -> None:
    """Open a notebook of all views, run it and use each; note what happened. A picture after each check is left in `place`."""
    folder = place / "views"
    folder.mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, folder / "views.ipynb")
    checks: dict[str, Callable[[Page], str]] = {
        "every live view is shown": shown,
        "PromptLab writes a text": a_text_is_written,
        "AttentionExplorer reads a weight, equal to the traced one": a_weight_is_read,
        "Microscope takes another prompt": another_prompt_is_looked_at,
        "TokenInspector goes to the next block": the_next_block_is_shown,
        "ParameterForm checks a value": a_value_is_checked,
        "TrainingMonitor follows a run to its end": a_run_is_followed,
    }
    with running_lab(folder, place, "classic", python=python, variables=variables) as server, open_page(browser, place) as page:
        url = server.url("views.ipynb")
        checks = {"the cells run": lambda page: run_cells(page, url)} | checks
        for number, (what, check) in enumerate(checks.items()):
            start = time.monotonic()
            try:
                detail, passed = check(page), True
            except Exception as error:  # Playwright's time-outs and failed assertions alike: the record says which
                detail, passed = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", False
            record.note(f"classic Notebook: {what}", passed, detail, time.monotonic() - start)
            page.screenshot(path=place / f"classic-{number}.png")


def view(page: Page, name: str) -> Locator:
    """The live view in the output of the cell called `name`."""
    found = page.locator(".code_cell").nth(list(CELLS).index(name)).locator("section.nbt")
    found.wait_for(timeout=HANG)
    found.scroll_into_view_if_needed()
    return found


def run_cells(page: Page, url: str) -> str:
    """Open the notebook, run all its cells, and wait until each has its number."""
    page.goto(url, timeout=HANG)
    page.wait_for_function("window.Jupyter?.notebook?.kernel?.is_connected() && Jupyter.notebook._fully_loaded", timeout=HANG)
    page.evaluate("Jupyter.notebook.execute_all_cells()")
    page.wait_for_function(f"count => document.querySelector('.output_error') || ({NUMBERED})(count)", arg=len(CELLS), timeout=HANG)
    failed = page.evaluate("document.querySelector('.output_error')?.textContent")
    assert failed is None, failed
    return str(page.evaluate("'notebook ' + Jupyter.version"))


def shown(page: Page) -> str:
    for name in list(CELLS)[1:]:
        view(page, name)
    assert page.get_by_text("Error displaying widget").count() == 0 and page.get_by_text("model not found").count() == 0
    return ", ".join(list(CELLS)[1:])


def a_text_is_written(page: Page) -> str:
    lab = view(page, "PromptLab")
    lab.get_by_role("button", name="Generate", exact=True).click()
    lab.locator("xpath=..").locator(".nbt-status").get_by_text("done", exact=True).wait_for(timeout=HANG)
    written = lab.locator(".nbt-token").count()
    assert written == 8, written
    return f"{written} tokens"


def a_weight_is_read(page: Page) -> str:
    explorer = view(page, "AttentionExplorer")
    explorer.locator(".nbt-matrix").focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    told = explorer.locator(".nbt-sum tr", has_text="weight = exp").locator("td").nth(1)
    told.wait_for(timeout=HANG)
    read = float(told.text_content() or "nan")
    traced = float(trace_attention(load_model("mini", verbose=False), TEXT).weights[0, 0, 2, 0])
    assert abs(read - traced) <= 1e-4 * abs(traced), (read, traced)
    return f"{read:.5f}"


def another_prompt_is_looked_at(page: Page) -> str:
    scope = view(page, "Microscope")
    scope.get_by_label("Prompt", exact=True).fill("I")
    scope.get_by_role("button", name="Compare", exact=True).click()
    begins = "box => box.querySelector('.nbt-line').textContent.startsWith('beforeI')"
    page.wait_for_function(begins, arg=scope.element_handle(), timeout=HANG)
    return ""


def the_next_block_is_shown(page: Page) -> str:
    inspector = view(page, "TokenInspector")
    inspector.get_by_role("button", name="Next block", exact=True).click()
    inspector.get_by_role("heading", name="block 1 of", exact=False).wait_for(timeout=HANG)
    rows = inspector.locator("tbody tr").count()
    assert rows == 16, rows
    return f"{rows} rows"


def a_value_is_checked(page: Page) -> str:
    form = view(page, "ParameterForm")
    steps = form.get_by_label("max_steps", exact=True)
    steps.fill("many")
    steps.blur()
    form.get_by_text("max_steps must be a whole number", exact=False).wait_for(timeout=HANG)
    steps.fill("3")
    steps.blur()
    form.get_by_text("-p max_steps 3", exact=False).first.wait_for(timeout=HANG)
    return "a wrong one is refused, a right one stands in the command"


def a_run_is_followed(page: Page) -> str:
    monitor = view(page, "TrainingMonitor")
    monitor.get_by_role("heading", name="run one: finished").wait_for(timeout=HANG)
    assert monitor.locator("svg.nbt-curve polyline").count() >= 1 and monitor.locator(".nbt-facts dd").count() >= 5
    return "20 steps, finished"
