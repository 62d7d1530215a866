"""Useful tokens a second and peak memory of fine-tuning GPT-2's 124M shape, by the recipes of benchmarks/recipes.py.

python -m benchmarks.finetune_throughput [--rounds N] [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, ratio, spread

NAME = "finetune_throughput"
BATCH = 2  # the walkthrough's
REVIEWS = 400
TEN_TIMES = "amd-avx512bf16-2"  # where ten times the walkthrough was aimed at: with products in bf16 four times as fast as in fp32
WALKTHROUGH, OURS, SPEED = "walkthrough", "ours", "machine"
PEERS = ("trainer", "trainer_tuned", "trainer_linear_loss", "trl")
SPEEDS = ("fp32_gflops", "bf16_gflops", "read_bytes_per_second")
FIGURES = ("tokens_per_second", "first_step_seconds", "peak_memory_bytes", "tree_memory_bytes", "useful_tokens_per_step")
# Steps and how many of them warm up. A slow step needs few repetitions: its noise is small against its length.
STEPS = {WALKTHROUGH: (4, 1), "corrected": (3, 1), OURS: (12, 4)}
COMPILED_STEPS = (8, 3)


def calls(quick: bool, caches: Path) -> dict[str, harness.Planned]:
    """What one round measures. Each compiled recipe has a compiler's cache of its own, empty in the first round only."""
    size, reviews = ("tiny", 40) if quick else ("gpt2", REVIEWS)
    planned: dict[str, harness.Planned] = {SPEED: Call("benchmarks.machine:speed", {"seconds": 0.02, "megabytes": 32} if quick else {})}
    for recipe in (WALKTHROUGH, "corrected", *PEERS, OURS):
        steps, warm_up = (3, 1) if quick else STEPS.get(recipe, COMPILED_STEPS)
        arguments = {"recipe": recipe, "size": size, "steps": steps, "warm_up": warm_up, "batch": BATCH, "reviews": reviews}
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(caches / recipe)}
        planned[recipe] = Call("benchmarks.recipes:throughput", arguments | {"compiled": not quick}, environment)
    return planned


def summarize(raw: dict[str, list[Row]]) -> dict[str, Any]:
    """Medians, ratios and goals from the raw rows."""
    summary: dict[str, Any] = {}
    for name, rows in raw.items():
        summary[name] = {one: spread(column(rows, one)) for one in (SPEEDS if name == SPEED else FIGURES)}
        if name != SPEED:
            summary[name]["first_step_seconds_cold"] = rows[0]["first_step_seconds"]
    speed = {name: column(rows, "tokens_per_second") for name, rows in raw.items() if name != SPEED}
    memory = {name: column(rows, "peak_memory_bytes") for name, rows in raw.items() if name != SPEED}
    best = max(speed.keys() & set(PEERS), key=lambda name: statistics.median(speed[name]))
    # Six operations a parameter and token: two forward, four backward. The peak is that of the format that our run chose.
    own = raw[OURS]
    peak = [row[f"{one['dtype']}_gflops"] * 1e9 / (6 * one["parameters"]) for row, one in zip(raw[SPEED], own, strict=True)]
    shares = {name: ratio(values, peak) for name, values in speed.items()}
    chosen = own[0]["dtype"]
    goals = [
        goal("useful tokens a second, against the walkthrough", ratio(speed[OURS], speed[WALKTHROUGH]), 10, format=chosen, kind=TEN_TIMES),
        goal(f"useful tokens a second, against the best peer at batch {BATCH}", ratio(speed[OURS], speed[best]), 1.5, format=chosen),
        goal("peak memory, as a share of the walkthrough's", ratio(memory[OURS], memory[WALKTHROUGH]), 0.5, at_most=True, format=chosen),
        goal("share of the measured matrix peak (6 operations a parameter and token)", shares[OURS], 0.65, format=chosen),
    ]
    against = {name: ratio(values, speed[WALKTHROUGH]) for name, values in speed.items()}
    return {
        "summary": summary,
        "dtype": chosen,
        "best_peer": best,
        "against_walkthrough": against,
        "share_of_peak": shares,
        "goals": goals,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    harness.measure(Call("benchmarks.finetune_throughput:prepare", {"size": "tiny" if options.quick else "gpt2"}))
    with tempfile.TemporaryDirectory(prefix="bench-caches-") as caches:
        raw = harness.rounds(calls(options.quick, Path(caches)), options.rounds)
    settings = {"batch": BATCH, "reviews": REVIEWS, "block": 64 if options.quick else 512}
    return {"settings": settings, **summarize(raw), "raw": raw}


def prepare(size: str) -> dict[str, Any]:
    """Read, clean and tokenize the reviews once, so that no recipe pays for it; says what is missing before anything is measured."""
    import nbtools
    from benchmarks.recipes import SIZES, random_gpt2, training_reviews

    return dict(nbtools.pack(training_reviews(REVIEWS), random_gpt2(size), SIZES[size]["block"]).counts)


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
