"""The learning rate of a profile: what several give after a short fine-tuning, in bits per byte of held-out reviews.

    python -m benchmarks.learning_rates [--models MODEL ...] [--quick] [--out FILE]

Each rate is tried with the same blocks and steps. No time is compared here, so it need not have the machine to itself. There is
one seed, so that rates whose results are close cannot be told from each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row

NAME = "learning_rates"
SCORED = 40  # validation reviews


@dataclass(frozen=True)
class Search:
    """The fine-tunings of one model that differ in their learning rate only."""

    profile: str
    rates: tuple[float, ...]
    max_steps: int
    batch_size: int
    lora: bool = False
    block_size: int | None = None
    """None: the profile's."""


SEARCHES = {
    "smollm2": Search("smollm2", (2e-5, 5e-5, 1e-4, 2e-4, 4e-4), 60, 2),
    "smollm2, LoRA": Search("smollm2", (1e-4, 2e-4, 5e-4, 1e-3, 2e-3), 60, 2, lora=True),
    "mini": Search("mini", (5e-4, 1e-3, 2e-3, 4e-3), 100, 4),
    "mini, LoRA": Search("mini", (2e-3, 5e-3, 1e-2), 100, 4, lora=True),
}


def trained(search: dict[str, Any], rate: float | None) -> Row:
    """Bits per byte of held-out reviews after a fine-tuning with this learning rate; rate None: without any."""
    import nbtools

    plan = Search(**search)
    lm = nbtools.load_model(plan.profile, verbose=False)
    reviews = nbtools.load_reviews("package", max_reviews=max(400, 4 * plan.max_steps * plan.batch_size))
    if rate is not None:
        packed = nbtools.pack(reviews.train, lm, plan.block_size)
        given: dict[str, Any] = {"max_steps": plan.max_steps, "batch_size": plan.batch_size, "lora": plan.lora}
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "tuned")
            lm = nbtools.finetune(lm, packed, output_dir=target, learning_rate=rate, checkpoint_steps=plan.max_steps, **given).lm
    score = nbtools.evaluate(lm, reviews.validation["text"][:SCORED])
    return {"rate": rate, "bits_per_byte": score.bits_per_byte, "perplexity": score.perplexity}


def run(options: argparse.Namespace) -> dict[str, Any]:
    raw: dict[str, list[Row]] = {}
    for name in ["mini"] if options.quick else options.models:
        search = SEARCHES[name]
        if options.quick:
            search = replace(search, rates=search.rates[:2], max_steps=2, block_size=64)
        for rate in (None, *search.rates):
            harness.say(f"{name}, learning rate {rate:g}" if rate else f"{name} before training")
            row = harness.measure(Call("benchmarks.learning_rates:trained", {"search": asdict(search), "rate": rate}))
            raw.setdefault(name, []).append(row)
    return {"settings": {}, "summary": {name: summarize(rows) for name, rows in raw.items()}, "goals": [], "raw": raw}


def summarize(rows: list[Row]) -> Row:
    best = min(rows[1:], key=lambda row: row["bits_per_byte"])
    return {
        "before": rows[0]["bits_per_byte"],
        "best_rate": best["rate"],
        "bits_per_byte": {str(row["rate"]): row["bits_per_byte"] for row in rows[1:]},
    }


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--models", nargs="+", default=["smollm2"], choices=list(SEARCHES), help="what is trained (default: smollm2)")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
