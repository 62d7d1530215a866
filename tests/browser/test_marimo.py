"""The views in marimo, a notebook of another kind that mounts anywidget's modules: written, read and pressed in Chromium."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

from nbtools import generate
from tests.browser.jupyterlab import HANG, find_browser, open_page
from tests.small_models import mini

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.long(60), pytest.mark.browser]
ROOT = Path(__file__).resolve().parents[2]
APP = """
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import nbtools
    lm = nbtools.load_model("mini", verbose=False)
    return lm, mo, nbtools

@app.cell
def _(lm, mo, nbtools):
    mo.ui.anywidget(nbtools.PromptLab(lm, "The old man", temperature=0.7, top_k=40, top_p=1.0, max_new_tokens=12, seed=3))
    return

@app.cell
def _(lm, mo, nbtools):
    mo.ui.anywidget(nbtools.AttentionExplorer(lm, "The plot was thin, but I enjoyed it."))
    return
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running marimo, installed for this test alone."""
    place = tmp_path_factory.mktemp("marimo")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place / "packages"), "marimo"], check=True)
    (place / "app.py").write_text(APP, encoding="utf8")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    path = os.pathsep.join([str(ROOT), str(place / "packages")])
    command = [sys.executable, "-m", "marimo", "run", str(place / "app.py"), "--headless", "--no-token", "--port", str(port)]
    variables = {"PYTHONPATH": path, "NBTOOLS_HEADLESS": "0", "NBTOOLS_PROGRESS": "0", "HF_HUB_OFFLINE": "1"}
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **variables})
    try:
        for _ in range(600):
            assert server.poll() is None, (place / "log").read_text(encoding="utf8")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(find_browser(), tmp_path_factory.mktemp("chromium")) as page:
        page.goto(address)
        page.get_by_role("button", name="Generate", exact=True).wait_for(timeout=HANG)
        yield page


def test_the_lab_writes_what_python_writes(page: Page) -> None:
    page.get_by_role("button", name="Generate", exact=True).click()
    page.locator(".nbt-status", has_text="done").first.wait_for(timeout=HANG)
    text = "".join(page.locator(".nbt-text > *").all_text_contents())
    assert text == generate(mini(), "The old man", temperature=0.7, top_k=40, max_new_tokens=12, seed=3)


def test_the_explorer_goes_to_another_head(page: Page) -> None:
    page.locator('button[data-layer="3"][data-head="5"]').click()
    page.locator("h4", has_text="Layer 3, head 5").wait_for(timeout=HANG)
    page.get_by_role("button", name="Apply to every layer").click()
    prediction = page.get_by_text("the prediction")
    prediction.wait_for(timeout=HANG)
    assert prediction.count() == 1
