"""What the attention of one text weighs when it is sent to a page: every weight as JSON, against one layer as 8-bit triangles.

    python -m benchmarks.attention_payload [--rounds N] [--quick] [--out FILE]

The first is what a page needs that gets all layers and heads at once (BertViz splices such lists into its page). The second is what a
view needs that asks for a layer when it is looked at: causal attention has no weight above the diagonal, and a picture shows no more
than 256 shades. Sizes do not vary, so one measurement is enough; GPT-2's 124M shape.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, goal

NAME = "attention_payload"
TOKENS = (64, 128, 256)
GOAL = 100  # times smaller; a page of 256 MB does not open, one of 2 MB does


def triangles(layer: Any) -> bytes:
    """One layer's causal weights, float32 [heads, tokens, tokens], as 8-bit lower triangles, row by row, head after head."""
    import numpy as np

    rows, columns = np.tril_indices(layer.shape[-1])
    return bytes(np.rint(layer[:, rows, columns] * 255).astype(np.uint8).tobytes())


def payload(size: str, tokens: int) -> dict[str, Any]:
    """Bytes and seconds of both ways, and the largest error of a weight that 8 bits bring."""
    import numpy as np

    import nbtools
    from benchmarks.recipes import random_gpt2, training_reviews

    lm = random_gpt2(size)
    ids = lm.tokenizer(" ".join(training_reviews(20)), add_special_tokens=False, verbose=False)["input_ids"]
    text = lm.tokenizer.decode(ids[:tokens])
    trace = nbtools.trace_attention(lm, text)
    start = time.perf_counter()
    spliced = len(json.dumps(trace.weights.tolist()).encode())
    middle = time.perf_counter()
    layer = triangles(trace.weights[0])
    end = time.perf_counter()
    count = len(trace.ids)
    restored = np.frombuffer(layer, np.uint8).reshape(trace.heads, -1) / 255
    exact = trace.weights[0][:, *np.tril_indices(count)]
    return {
        "tokens": count,
        "json_bytes": spliced,
        "json_seconds": round(middle - start, 4),
        "layer_bytes": len(layer),
        "layer_seconds": round(end - middle, 5),
        "largest_error": float(np.abs(restored - exact).max()),
        "upper_triangle": float(np.abs(np.triu(trace.weights[0], 1)).max()),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    size, lengths = ("tiny", (16,)) if options.quick else ("gpt2", TOKENS)
    rows = [harness.measure(Call("benchmarks.attention_payload:payload", {"size": size, "tokens": count})) for count in lengths]
    longest = rows[-1]
    smaller = longest["json_bytes"] / longest["layer_bytes"]
    goals = [goal(f"times smaller at {longest['tokens']} tokens", smaller, GOAL)]
    return {"settings": {"size": size}, "summary": rows, "goals": goals, "raw": rows}


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
