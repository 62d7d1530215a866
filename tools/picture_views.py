"""Take the README's pictures of the live views, in a real JupyterLab in Chromium, and of the pages' front page.

    python tools/picture_views.py [--out docs/pictures]

It first fine-tunes `mini` for about two minutes, for two models to compare and a training to replay. Pictures depend on the machine and
the day, so no test compares them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import nbformat
import typer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the server and the browser are those of the tests

from tests.browser.jupyterlab import HANG, find_browser, open_page, run_all, running_lab  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SENTENCE = "The plot was thin, but the acting was good and I enjoyed the film."
CELLS = {
    "start": """%env NBTOOLS_PROGRESS=0
import nbtools
base, lm = (nbtools.load_model("mini", verbose=False) for _ in range(2))
reviews = nbtools.load_reviews("package", max_reviews=4_000)
packed = nbtools.pack(reviews.train, lm, 128)
tuned = nbtools.finetune(lm, packed, output_dir="tuned", max_steps=300, batch_size=8, learning_rate=1e-3,
                         validation=reviews.validation, prompts=["The movie was", "The acting"])""",
    "prompt_lab": 'nbtools.PromptLab(tuned.lm, "The movie was", max_new_tokens=24, seed=3)',
    "attention_explorer": f"nbtools.AttentionExplorer(tuned.lm, {SENTENCE!r}, layer=2, head=3)",
    "microscope": 'nbtools.Microscope(base, tuned.lm, "The movie was", max_new_tokens=40, seed=1)',
    "training_monitor": "nbtools.TrainingMonitor(tuned.folder)",
}
WIDTH, HEIGHT = 1280, 1400
TALLEST = 760  # maximum height of a picture in pixels; the rest is cut off


def use_prompt_lab(view: Locator) -> None:
    view.get_by_role("button", name="Generate", exact=True).click()
    view.locator("xpath=..").locator(".nbt-status").get_by_text("done", exact=True).wait_for(timeout=HANG)
    view.locator(".nbt-token").nth(6).click()


def use_attention_explorer(view: Locator) -> None:
    matrix = view.locator(".nbt-matrix")
    matrix.focus()
    for _ in range(9):
        matrix.press("ArrowDown")
    for _ in range(8):
        matrix.press("ArrowRight")
    matrix.press("Enter")
    view.locator(".nbt-sum").first.wait_for(timeout=HANG)


def nothing(view: Locator) -> None:
    view.locator("h4, h3, svg").first.wait_for(timeout=HANG)


USES: dict[str, Callable[[Locator], None]] = {
    "prompt_lab": use_prompt_lab,
    "attention_explorer": use_attention_explorer,
    "microscope": nothing,
    "training_monitor": nothing,
}


def picture(page: Page, name: str, to: Path) -> None:
    view = page.locator(".jp-CodeCell").nth(list(CELLS).index(name)).locator("section.nbt")
    view.wait_for(timeout=HANG)
    view.scroll_into_view_if_needed()
    USES[name](view)
    page.wait_for_timeout(500)  # animations have ended
    frame = view.locator("xpath=..")
    frame.evaluate("element => element.scrollIntoView({ block: 'start' })")
    box = frame.bounding_box()
    assert box is not None
    page.screenshot(path=to, clip={**box, "height": min(box["height"], TALLEST)})
    print(f"{to.relative_to(ROOT) if to.is_relative_to(ROOT) else to}: {to.stat().st_size / 1e3:.0f} kB")


def front_page(page: Page, place: Path, to: Path) -> None:
    """The pages' front page, after a press of Generate."""
    from nbtools.site import write_site

    page.goto(write_site(place / "pages", place / "notebooks" / "tuned").as_uri())
    page.set_viewport_size({"width": 1100, "height": 1010})
    lab = page.locator(".live[data-state=live]").first
    lab.wait_for(timeout=HANG)
    lab.get_by_role("button", name="Generate", exact=True).click()
    lab.locator(".nbt-status").get_by_text("done", exact=True).wait_for(timeout=HANG)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=to)
    print(f"{to.relative_to(ROOT) if to.is_relative_to(ROOT) else to}: {to.stat().st_size / 1e3:.0f} kB")


def main(out: Annotated[Path, typer.Option(help="The folder of the pictures.")] = ROOT / "docs" / "pictures") -> None:
    """Take the README's pictures of the live views."""
    browser = find_browser()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "notebooks").mkdir()
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        nbformat.write(notebook, place / "notebooks" / "views.ipynb")
        with running_lab(place / "notebooks", place) as server, open_page(browser, place) as page:
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            run_all(page, server.url("views.ipynb"), len(CELLS))
            page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
            for name in USES:
                picture(page, name, out / f"{name}.png")
            front_page(page, place, out / "site.png")


if __name__ == "__main__":
    typer.run(main)
