"""What leaving dropout out costs, or gains, in held-out perplexity at the length of notebook 04's training.

    python -m benchmarks.dropout [--quick] [--out FILE]

No time is compared here, so it need not have the machine to itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, spread

NAME = "dropout"


def heldout(dropout: float, seed: int, steps: int, reviews: int | None) -> dict[str, Any]:
    """Validation perplexity after notebook 04's fine-tuning of `mini`, with this dropout."""
    import nbtools

    lm = nbtools.load_model("mini", verbose=False)
    data = nbtools.load_reviews("package", max_reviews=reviews or lm.defaults.max_reviews)
    packed = nbtools.pack(data.train, lm)
    with tempfile.TemporaryDirectory() as folder:
        plan: dict[str, Any] = {"max_steps": steps, "seed": seed, "dropout": dropout, "checkpoint_steps": steps}
        tuned = nbtools.finetune(lm, packed, output_dir=Path(folder, "tuned"), **plan)
    return {"perplexity": nbtools.evaluate(tuned.lm, data.validation).perplexity, "seed": seed, "seconds": tuned.seconds}


def dropout_study(quick: bool) -> Row:
    """Perplexity with dropout 0.1 and without, three seeds each: what the speed of leaving it out costs at this length."""
    seeds, steps, reviews = ((0,), 4, 40) if quick else ((0, 1, 2), 300, None)
    values = ("0.1", "0.0")
    calls: dict[str, harness.Planned] = {
        f"dropout {dropout}, seed {seed}": Call(
            "benchmarks.dropout:heldout", {"dropout": float(dropout), "seed": seed, "steps": steps, "reviews": reviews}
        )
        for seed in seeds
        for dropout in values
    }
    found = harness.rounds(calls, 1)
    rows: dict[str, list[Row]] = {dropout: [found[f"dropout {dropout}, seed {seed}"][0] for seed in seeds] for dropout in values}
    return {"steps": steps, "raw": rows, "summary": {name: spread(column(found, "perplexity")) for name, found in rows.items()}}


def run(options: argparse.Namespace) -> dict[str, Any]:
    return {"goals": [], **dropout_study(options.quick)}


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
