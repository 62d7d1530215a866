"""A real JupyterLab (or Notebook 7, or the classic one) on loopback, and a real Chromium, for tests that click as a learner would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.pages import chromium_path

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Without these Chromium looks for its maker's servers at every start.
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
START_SECONDS = 600
HANG = 600_000  # milliseconds: what takes longer is taken to hang, however busy the machine is

# Neither news nor updates are asked about; both would need a network.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # every output stays on the page, in sight or not
}


def find_browser() -> str:
    """The path of a Chromium. Without one the test is skipped, and fails where CI is set: there it must be present."""
    if path := chromium_path():
        return path
    reason = "No Chromium is installed: apt install chromium, or set CHROMIUM to the path of one."
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


PATHS = {"jupyterlab": "lab/tree", "notebook": "notebooks", "classic": "notebooks"}  # where each program opens a file


class Lab:
    """A running server. `folder` is what it shows; `url` opens a file of it.

    program    "jupyterlab", "notebook" (Notebook 7) or "classic" (notebook 6)
    python     whose packages serve and compute
    variables  of the environment, beside this process's own
    """

    def __init__(
        self,
        folder: Path,
        place: Path,
        program: str = "jupyterlab",
        python: str | Path = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.log, self.program = folder, place / "server.log", program
        for name, values in SETTINGS.items():
            file = place / "settings" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(values), encoding="utf8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        places = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        environment = os.environ | {name: str(place / part) for name, part in places.items()} | {"NBTOOLS_RUNS": str(place / "runs")}
        classic = program == "classic"
        app = "NotebookApp" if classic else "ServerApp"
        options = [
            "--no-browser",
            "--allow-root",
            f"--{app}.ip=127.0.0.1",
            f"--{app}.port={self.port}",
            f"--{app}.port_retries=0",
            f"--{app}.password=",
            f"--{'NotebookApp' if classic else 'IdentityProvider'}.token=",
            f"--{app}.{'notebook_dir' if classic else 'root_dir'}={folder}",
        ]
        if program == "jupyterlab":
            options += ["--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True"]
        with self.log.open("wb") as log:
            command = [str(python), "-m", "notebook" if classic else program, *options]
            self.process = subprocess.Popen(command, env=environment | dict(variables or {}), stdout=log, stderr=log)

    def url(self, file: str) -> str:
        return f"http://127.0.0.1:{self.port}/{PATHS[self.program]}/{file}"

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/{path}", timeout=60) as answer:
            return json.load(answer)

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.ask("status")
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"{self.program} did not start:\n{self.log.read_text(encoding='utf8', errors='replace')[-3000:]}")

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        self.process.terminate()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


FAILED = '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]'


def wait_for_kernel(page: Page) -> None:
    """Until the kernel is connected and idle. Before a notebook has a kernel at all, its indicator says idle too."""
    ready = "document.querySelector('.jp-NotebookPanel-toolbar [data-status=idle]') && kernel?.textContent.startsWith('Python')"
    name = "document.querySelector('.jp-NotebookPanel-toolbar .jp-Toolbar-kernelName')"
    page.wait_for_function(f"() => {{ const kernel = {name}; return {ready}; }}", timeout=HANG)


def run_all(page: Page, url: str, cells: int) -> None:
    """Open a notebook, choose Run All Cells from the menu, and wait until every one of its code cells has its number."""
    page.goto(url, timeout=HANG)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=HANG)
    wait_for_kernel(page)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    numbered = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].filter(p => /[0-9]/.test(p.textContent)).length === count"
    page.wait_for_function(f"count => document.querySelector('{FAILED}') || {numbered}", arg=cells, timeout=HANG)
    failed = page.evaluate(f"document.querySelector('{FAILED}')?.textContent")
    assert failed is None, failed


@contextmanager
def running_lab(folder: Path, place: Path, program: str = "jupyterlab", **options: Any) -> Iterator[Lab]:
    lab = Lab(folder, place, program, **options)
    try:
        lab.wait_until_up()
        yield lab
    finally:
        lab.stop()


@contextmanager
def open_page(path: str, place: Path) -> Iterator[Page]:
    """A page in a Chromium of its own, with an empty profile and no way out but loopback."""
    from playwright.sync_api import sync_playwright

    sandbox = [] if hasattr(os, "geteuid") and os.geteuid() else ["--no-sandbox"]  # root cannot have one
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(place / "profile"),
            executable_path=path,
            headless=True,
            args=[*QUIET, *sandbox, "--disable-gpu", "--disable-dev-shm-usage"],
            viewport={"width": 1280, "height": 1400},
        )
        try:
            yield context.pages[0] if context.pages else context.new_page()
        finally:
            context.close()
