"""Tokens per second of nbtools.evaluate on reviews, against padded batches through the plain model.

    python -m benchmarks.scoring [--rounds N] [--quick] [--out FILE]

The padded way is what nbtools.evaluate does for models that the fast path does not know: windows of similar length in one batch, all
logits, and PyTorch's cross-entropy, in fp32. Both score the same windows of the same reviews, in turns in one process; the better of two
passes counts, tokenization included.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any
from unittest.mock import patch

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, spread

NAME = "scoring"
REVIEWS = {"mini": 60, "smollm2": 8}
QUICK = {"mini": 4}
TIMES = {"mini": 3.0}  # how much faster than the padded way
DIFFERENCE = 1e-4  # nats per token, the most that a review's score may differ
PASSES = 2


def measured(model: str, reviews: int) -> Row:
    """Tokens per second of both ways; the greatest difference of a review's negative log-likelihood per token, in nats."""
    import numpy as np

    import nbtools
    from nbtools.data import tokenize

    lm = nbtools.load_model(model, verbose=False)
    texts = list(nbtools.load_reviews("package", max_reviews=max(100, 20 * reviews)).validation["text"])[:reviews]
    assert len(texts) == reviews, f"{len(texts)} reviews instead of {reviews}"
    ways: dict[str, Any] = {
        "fast": contextlib.nullcontext,
        "padded": lambda: patch("nbtools.evaluation.can_score", return_value=False),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    scores: dict[str, Any] = {}
    for context in ways.values():  # warms up
        with context():
            nbtools.evaluate(lm, texts[:2])
    for _ in range(PASSES):
        for way, context in ways.items():
            with context():
                start = time.perf_counter()
                scores[way] = nbtools.evaluate(lm, texts)
                seconds[way].append(time.perf_counter() - start)
    tokens = scores["fast"].tokens
    ids = tokenize(texts, lm)
    lengths = np.array([len(ids[index]) + 1 for index in range(len(ids))])  # with the end-of-text after each
    differences = np.abs(scores["fast"].per_review - scores["padded"].per_review) / lengths
    return {
        "tokens": tokens,
        "tokens_per_second": tokens / min(seconds["fast"]),
        "padded_tokens_per_second": tokens / min(seconds["padded"]),
        "ratio": min(seconds["padded"]) / min(seconds["fast"]),
        "difference": float(differences.max()),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    reviews = QUICK if options.quick else REVIEWS
    calls: dict[str, harness.Planned] = {
        model: Call("benchmarks.scoring:measured", {"model": model, "reviews": count}) for model, count in reviews.items()
    }
    raw = harness.rounds(calls, options.rounds)
    summary: dict[str, Any] = {
        model: {one: spread(column(rows, one)) for one in ("tokens_per_second", "padded_tokens_per_second", "ratio")}
        | {"reviews": reviews[model], "tokens": rows[0]["tokens"], "difference": max(column(rows, "difference"))}
        for model, rows in raw.items()
    }
    goals = []
    for model, one in summary.items():
        if model in TIMES:
            goals.append(goal(f"{model}, scoring, as a multiple of the padded way", one["ratio"]["median"], TIMES[model], format="fp32"))
        goals.append(
            goal(f"{model}, greatest difference of a score, nats per token", one["difference"], DIFFERENCE, at_most=True, format="fp32")
        )
    return {"settings": {"passes": PASSES}, "summary": summary, "goals": goals, "raw": raw}


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
