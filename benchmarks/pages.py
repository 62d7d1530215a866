"""Pages of attention in a Chromium of their own: what stands in for a notebook, and for a CDN, and how sight is timed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.harness import Row
from nbtools.errors import MachineError
from nbtools.storage import atomic_folder, cache_folder

# What BertViz asks of its CDN: the beginning of the address, the package on npm, and the file in it.
LIBRARIES = {
    "/ajax/libs/require.js/": ("requirejs@2.3.6", "require.js"),
    "/ajax/libs/d3/": ("d3@5.7.0", "dist/d3.min.js"),
    "/ajax/libs/jquery/": ("jquery@2.2.4", "dist/jquery.min.js"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# Two frames after `complete` first holds, the picture is on the screen.
WATCH = """
window.seen = new Promise((done, failed) => {
  setTimeout(() => failed(new Error("After ten minutes the picture is not complete.")), 600_000);
  const look = () => requestAnimationFrame(complete() ? () => requestAnimationFrame(() => done(performance.now())) : look);
  look();
});
"""
PAGE = """<!doctype html><meta charset="utf-8"><style>STYLE</style>
<body data-jp-theme-light="true"><div id="here"></div><script type="module">
const binary = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
const values = TRAITS;
for (const name of BINARY) values.shown[name] = binary(values.shown[name]);
const listeners = {};
const model = {
  get: (name) => values[name],
  set: (name, value) => { values[name] = value; for (const one of listeners[`change:${name}`] ?? []) one(); },
  save_changes: () => {},
  on: (name, listener) => (listeners[name] ??= []).push(listener),
  off: () => {},
  send: async (content) => {
    const got = await (await fetch("ADDRESS", { method: "POST", body: JSON.stringify(content) })).arrayBuffer();
    let place = 4 + new DataView(got).getUint32(0, true);
    for (const { content, sizes } of JSON.parse(new TextDecoder().decode(got.slice(4, place)))) {
      const buffers = sizes.map((size) => { place += size; return new DataView(got, place - size, size); });
      for (const one of listeners["msg:custom"] ?? []) one(content, buffers);
    }
  },
};
window.model = model;
const module = await import(URL.createObjectURL(new Blob([SCRIPT], { type: "text/javascript" })));
module.default.render({ model, el: document.getElementById("here") });
</script>"""


def stand_in(traits: Mapping[str, Any], module: str, css: str, address: str) -> str:
    """A page that shows a view as a notebook does, with its module and its traits. Its requests are sent to `address`."""
    shown_parts = traits["shown"]
    binary = [name for name, value in shown_parts.items() if isinstance(value, bytes)]
    coded = {name: base64.b64encode(value).decode() if name in binary else value for name, value in shown_parts.items()}
    parts = {
        "STYLE": css,
        "TRAITS": json.dumps({**traits, "shown": coded}).replace("<", "\\u003c"),
        "BINARY": json.dumps(binary),
        "SCRIPT": json.dumps(module).replace("<", "\\u003c"),
        "ADDRESS": address,
    }
    return re.sub("|".join(parts), lambda found: parts[found[0]], PAGE)


def library_files() -> dict[str, Path]:
    """npm's copies of what BertViz asks its CDN for, by the beginning of the address; fetched once. Raises MachineError without npm."""
    if shutil.which("npm") is None:
        raise MachineError("npm is not here, and BertViz needs three libraries from it.", "Install Node.js, or leave this benchmark out.")
    found = {}
    for address, (package, file) in LIBRARIES.items():
        folder = cache_folder("npm") / package
        if not folder.is_dir():
            with atomic_folder(folder) as aside, tempfile.TemporaryDirectory() as place:
                subprocess.run(["npm", "pack", "--silent", package], cwd=place, check=True, capture_output=True)
                [archive] = Path(place).glob("*.tgz")
                shutil.unpack_archive(archive, aside, "gztar", filter="data")
        found[address] = folder / "package" / file
    return found


@contextlib.contextmanager
def answering(answer: Callable[[dict[str, Any]], bytes]) -> Iterator[str]:
    """The address of a server on loopback that answers a POST, as the kernel's socket would: in one message, numbers as bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a benchmark's output is its progress."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def shown(page: str, complete: str, libraries: Mapping[str, Path] | None = None, layers: int = 0) -> Row:
    """Open `page`: milliseconds until `complete` holds, bytes of its process; with `layers`, milliseconds of a switch to each.

    `libraries` are what is asked of a CDN, by the beginning of the address.
    """
    with tempfile.TemporaryDirectory() as place:
        Path(place, "page.html").write_text(page, encoding="utf8")
        with chromium(place) as browser:
            browser.add_init_script(f"window.complete = {complete};{WATCH}")
            if libraries:  # a page without a route is not slowed by one
                browser.route(lambda url: url.startswith("https://"), lambda route: _serve(route, libraries))
            browser.goto(Path(place, "page.html").as_uri(), timeout=600_000, wait_until="commit")
            first = float(browser.evaluate("window.seen"))
            memory = _renderer_bytes()
            heap = browser.evaluate("performance.memory.usedJSHeapSize")
            switches = [_switch(browser, layer) for layer in range(1, layers)]
    return {"first_ms": round(first, 1), "memory_bytes": memory, "heap_bytes": heap, "switch_ms": [round(one, 1) for one in switches]}


def _switch(browser: Any, layer: int) -> float:
    """Milliseconds from the press on a head of another layer until its matrix is on the screen."""
    script = """async (layer) => {
        const start = performance.now();
        document.querySelector(`.nbt-thumb[data-layer="${layer}"]`).click();
        const chosen = () => document.querySelector(".nbt-thumb[aria-pressed=true]")?.dataset.layer;
        while (chosen() !== String(layer)) await new Promise((done) => setTimeout(done));
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        return performance.now() - start;
    }"""
    return float(browser.evaluate(script, layer))


def _serve(route: Any, files: Mapping[str, Path]) -> None:
    for address, file in files.items():
        if address in route.request.url:
            route.fulfill(body=file.read_bytes(), content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})
            return
    route.abort()


def _renderer_bytes() -> int:
    """Resident memory of the largest page process that this process has started."""
    import psutil

    sizes = [0]
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "--type=renderer" in process.cmdline():
                sizes.append(process.memory_info().rss)
    return max(sizes)


def chromium_path() -> str | None:
    """The Chromium of this machine: the one that the variable CHROMIUM names, or one on the path."""
    return next((path for name in (os.environ.get("CHROMIUM", ""), *BROWSERS) if name and (path := shutil.which(name))), None)


@contextlib.contextmanager
def chromium(place: str) -> Iterator[Any]:
    """A page of a fresh Chromium. Raises MachineError where there is none."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        raise MachineError("No Chromium is installed.", "Install it (apt install chromium), or leave this benchmark out.")
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    options += ["--js-flags=--max-old-space-size=8192", "--enable-precise-memory-info"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            page.set_default_timeout(600_000)
            yield page
        finally:
            browser.close()
