"""What it takes to see the attention of one text in a browser: ours against BertViz's head view, in bytes, time and memory.

    python -m benchmarks.attention_payload [--rounds N] [--quick] [--out FILE]

Each measurement is a page of its own in a Chromium of its own, with GPT-2's 124M shape. Ours is the explorer's own module in a page that
stands in for the notebook: its state is that of the real widget, and its requests are answered by the real widget's Python. BertViz's
page is what its `head_view` returns. It draws nothing without a CDN, so what it asks of one (require.js, jQuery, D3) is answered from
npm's copies, at no cost. The clock starts when the page is opened and stops two frames after the picture is complete.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from importlib.util import find_spec
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, goal
from benchmarks.pages import answering, library_files, shown, stand_in

NAME = "attention_payload"
BOTH = (32, 128, 256)  # tokens
ALONE = (512, 1024)  # a page of BertViz would be gigabytes
FIRST_SIGHT = 130_000  # bytes of data at 128 tokens
A_LAYER = 1_700_000  # bytes at 512 tokens
SWITCH = 150.0  # milliseconds at 512 tokens


def tokens_of(size: str, tokens: int) -> tuple[Any, str]:
    """A model and the first `tokens` tokens of reviews, as a text."""
    from benchmarks.recipes import random_gpt2, training_reviews

    lm = random_gpt2(size)
    ids = lm.tokenizer(" ".join(training_reviews(20)), add_special_tokens=False, verbose=False)["input_ids"]
    return lm, lm.tokenizer.decode(ids[:tokens])


def ours(size: str, tokens: int) -> Row:
    """The explorer: bytes of its parts, first sight, and the switch to each other layer."""
    from nbtools import AttentionExplorer
    from nbtools.widgets.front_end import script, style

    lm, text = tokens_of(size, tokens)
    start = time.perf_counter()
    explorer = AttentionExplorer(lm, text)
    traced = time.perf_counter() - start
    binary = {name: value for name, value in explorer.shown.items() if isinstance(value, bytes)}
    plain = {name: value for name, value in explorer.shown.items() if name not in binary}
    traits = {"shown": dict(explorer.shown), "revision": explorer.revision}
    module = script(*explorer.modules, explorer.view)
    layer_bytes: list[int] = []
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    explorer.send = lambda content, buffers=None: sent.append((content, list(buffers or [])))

    def answer(content: dict[str, Any]) -> bytes:
        sent.clear()
        explorer._receive(None, content)
        if content["kind"] == "layer":
            layer_bytes.append(sum(map(len, sent[-1][1])))
        head = json.dumps([{"content": message, "sizes": [len(one) for one in buffers]} for message, buffers in sent]).encode()
        return b"".join([len(head).to_bytes(4, "little"), head, *(one for _, buffers in sent for one in buffers)])

    layers, heads = explorer.shown["shape"]
    complete = (  # a canvas is 300 by 150 until it is painted, and ours is square
        "() => { const matrix = document.querySelector('.nbt-matrix'); return matrix && matrix.width === matrix.height"
        f" && document.querySelectorAll('.nbt-thumb').length === {layers * heads}; }}"
    )
    with answering(answer) as address:
        row = shown(stand_in(traits, module, style(explorer.view), address), complete, layers=layers)
    data = sum(map(len, binary.values())) + len(json.dumps(plain).encode())
    still = len(explorer.static_html().encode())
    assert layer_bytes, "no other layer was looked at"
    return row | {
        "tokens": len(explorer.shown["tokens"]), "data_bytes": data, "module_bytes": len(module.encode()), "still_bytes": still,
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
    row = shown(page, complete, library_files())
    return row | {"tokens": len(trace.ids), "data_bytes": len(page.encode()), "page_seconds": round(made, 3)}


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
