"""The learning rate of a profile: what several give after a short fine-tuning, in bits per byte of held-out reviews.

    python -m benchmarks.learning_rates [--profile smollm2] [--lora] [--quick] [--out FILE]

Each rate is tried with the same blocks and steps. No time is compared here, so it need not have the machine to itself. There is
one seed, so that rates whose results are close cannot be told from each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row

NAME = "learning_rates"
SCORED = 40  # validation reviews
PLANS: dict[str, Row] = {
    "smollm2": {"steps": 60, "batch_size": 2, "rates": (2e-5, 5e-5, 1e-4, 2e-4, 4e-4), "lora_rates": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)},
    "mini": {"steps": 100, "batch_size": 4, "rates": (5e-4, 1e-3, 2e-3, 4e-3), "lora_rates": (2e-3, 5e-3, 1e-2)},
}


def trained(profile: str, rate: float | None, steps: int, batch_size: int, lora: bool, block_size: int | None = None) -> Row:
    """Bits per byte of held-out reviews after a fine-tuning with this learning rate; rate None: without any."""
    import nbtools

    lm = nbtools.load_model(profile, verbose=False)
    reviews = nbtools.load_reviews("package", max_reviews=max(400, 4 * steps * batch_size))
    if rate is not None:
        packed = nbtools.pack(reviews.train, lm, block_size)
        with tempfile.TemporaryDirectory() as folder:
            plan: dict[str, Any] = {"learning_rate": rate, "max_steps": steps, "batch_size": batch_size, "lora": lora}
            lm = nbtools.finetune(lm, packed, output_dir=Path(folder, "tuned"), checkpoint_steps=steps, **plan).lm
    score = nbtools.evaluate(lm, reviews.validation["text"][:SCORED])
    return {"rate": rate, "bits_per_byte": score.bits_per_byte, "perplexity": score.perplexity}


def run(options: argparse.Namespace) -> dict[str, Any]:
    profile = "mini" if options.quick else options.profile
    plan = PLANS[profile]
    rates, steps = plan["lora_rates" if options.lora else "rates"], plan["steps"]
    more: Row = {"steps": steps, "batch_size": plan["batch_size"], "lora": options.lora}
    if options.quick:
        rates, more = rates[:2], more | {"steps": 2, "block_size": 64}
    rows = []
    for rate in (None, *rates):
        harness.say(f"{profile}, learning rate {rate}" if rate else f"{profile} before training")
        rows.append(harness.measure(Call("benchmarks.learning_rates:trained", {"profile": profile, "rate": rate, **more})))
    best = min(rows[1:], key=lambda row: row["bits_per_byte"])
    summary = {
        "before": rows[0]["bits_per_byte"],
        "best_rate": best["rate"],
        "bits_per_byte": {str(row["rate"]): row["bits_per_byte"] for row in rows[1:]},
    }
    return {"settings": {"profile": profile, **more}, "summary": summary, "goals": [], "raw": {profile: rows}}


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--profile", default="smollm2", choices=sorted(PLANS), help="the model (default: smollm2)")
    made.add_argument("--lora", action="store_true", help="train low-rank adapters instead of all weights")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
