"""The course's pages in a browser: their size, the time until the first distribution, tokens per second, the tab's memory.

    python -m benchmarks.site [--rounds N] [--quick] [--out FILE]

The pages are written once by `nbtools.site`, with mini as the base and a model moved from it in the place of a tuned one. Each round opens
the front page in a Chromium of its own, from the disk and from a static server on loopback, and writes greedy texts in the prompt lab. The
clock for the first distribution starts when the page is opened, and for "once loaded" when the scripts and the model's file have arrived.
Chrome's own start is not counted. The peer's figures are what its authors publish; it is not run.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import harness
from benchmarks.harness import Call, Row, goal
from benchmarks.pages import chromium_path
from nbtools.errors import MachineError

NAME = "site"
TOKENS = 200
WANTED = {"tokens_per_second": 50.0, "distribution_seconds": 0.5, "memory_bytes": 400e6, "total_bytes": 40e6, "first_visit_seconds": 3.0}
# Cho et al., 2024 (arXiv:2408.04619): GPT-2 small in the browser by ONNX Runtime. Its page loads a model of about 600 MB for a text of
# one's own; no speed is published.
PEER = {"name": "Transformer Explainer, as published", "parameters": 124_000_000, "bytes": 600e6}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def written(folder: Path) -> Path:
    """The pages, with a model that was moved from mini."""
    import torch

    from nbtools.models import load_model, save_model
    from nbtools.site import write_site

    tuned = load_model("mini", verbose=False)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight += 0.05 * weight.std().nan_to_num() * torch.randn_like(weight)
    return write_site(folder / "pages", save_model(tuned, folder / "tuned")).parent


def visit(tokens: int) -> Row:
    """One visit from the disk and one from a server."""
    browser = chromium_path()
    if browser is None:
        raise MachineError("No Chromium is installed.", "apt install chromium, or set CHROMIUM to the path of one.")
    with tempfile.TemporaryDirectory() as place:
        site = written(Path(place))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        try:
            row = _measured(browser, (site / "index.html").as_uri(), tokens)
            row["first_visit_seconds"] = _measured(browser, address, 0)["first_seconds"]
        finally:
            server.shutdown()
        sizes = {file.relative_to(site).as_posix(): file.stat().st_size for file in site.rglob("*") if file.is_file()}
    return row | {"total_bytes": sum(sizes.values()), "base_bytes": sizes["live/base.js"], "tuned_bytes": sizes["live/tuned.js"]}


def _measured(browser: str, address: str, tokens: int) -> Row:
    from playwright.sync_api import sync_playwright

    sandbox = [] if hasattr(os, "geteuid") and os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=[*sandbox, "--disable-dev-shm-usage"])
        page = chromium.new_page()
        arrived: list[float] = []
        page.on("requestfinished", lambda request: arrived.append(time.perf_counter()) if request.url.endswith("base.js") else None)
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.locator(".live[data-state=live]").first.wait_for()
        seen = time.perf_counter()
        row: Row = {"first_seconds": seen - start}
        if arrived:
            row["distribution_seconds"] = seen - arrived[0]
        if tokens:
            row["tokens_per_second"] = _speed(page, tokens)
            renderers = [one for one in psutil.Process().children(recursive=True) if "--type=renderer" in " ".join(one.cmdline())]
            row["memory_bytes"] = max(one.memory_info().rss for one in renderers)
        chromium.close()
    return row


def _speed(page: Any, tokens: int) -> float:
    """Tokens a second of a greedy text, the second one: the first warms the browser's compiler."""
    lab = page.locator(".live").first
    slider = lab.get_by_label("new tokens", exact=True)
    slider.evaluate("(input, tokens) => { input.value = tokens; input.dispatchEvent(new Event('input')); }", tokens)
    temperature = lab.get_by_label("temperature", exact=True)
    temperature.evaluate("(input) => { input.value = 1; input.dispatchEvent(new Event('input')); }")
    seconds = 0.0
    for seed in (1, 2):
        box = lab.get_by_role("spinbutton", name="seed")
        box.fill(str(seed))
        box.blur()
        start = time.perf_counter()
        lab.get_by_role("button", name="Generate", exact=True).click()
        lab.locator(".nbt-status", has_text="done").wait_for()
        seconds = time.perf_counter() - start
    return int(lab.locator(".nbt-token").count()) / seconds


def run(options: argparse.Namespace) -> dict[str, Any]:
    raw = harness.rounds({"visit": Call("benchmarks.site:visit", {"tokens": 20 if options.quick else TOKENS})}, options.rounds)
    rows = raw["visit"]
    names = ("first_seconds", "distribution_seconds", "first_visit_seconds", "tokens_per_second", "memory_bytes")
    summary: dict[str, Any] = {name: harness.spread(harness.column(rows, name)) for name in names}
    summary |= {name: rows[0][name] for name in ("total_bytes", "base_bytes", "tuned_bytes")}
    median = {name: summary[name]["median"] for name in names}
    goals = [
        goal("tokens a second", median["tokens_per_second"], WANTED["tokens_per_second"]),
        goal("seconds to a distribution, once loaded", median["distribution_seconds"], WANTED["distribution_seconds"], at_most=True),
        goal("bytes of the tab's memory", median["memory_bytes"], WANTED["memory_bytes"], at_most=True),
        goal("bytes of all pages", summary["total_bytes"], WANTED["total_bytes"], at_most=True),
        goal("seconds of a first visit, local server", median["first_visit_seconds"], WANTED["first_visit_seconds"], at_most=True),
    ]  # fmt: skip
    return {"settings": {"tokens": TOKENS, "peer": PEER}, "summary": summary, "goals": goals, "raw": raw}


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
