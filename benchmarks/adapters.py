"""Low-rank adapters against training all weights: quality, memory and time on the same reviews and steps.

    python -m benchmarks.adapters [--rounds N] [--profile smollm2] [--quick] [--out FILE]

Each training is a process of its own, so that its peak memory is its own; the two alternate. Each has its learning rate of the profile.
Batches of 1 and blocks of 256, for a machine with little memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, ratio, spread

NAME = "adapters"
MEMORY = 2e9  # bytes that training adapters on smollm2 may take
WAYS = {"all weights": False, "LoRA, rank 16": True}
SCORED = 40  # validation reviews


def trained(profile: str, lora: bool, steps: int, seed: int) -> Row:
    import nbtools

    lm = nbtools.load_model(profile, verbose=False)
    reviews = nbtools.load_reviews("package", max_reviews=max(100, 4 * steps))
    packed = nbtools.pack(reviews.train, lm, min(256, lm.context))
    rate = lm.defaults.lora_learning_rate if lora else lm.defaults.learning_rate
    with tempfile.TemporaryDirectory() as folder:
        tuned = nbtools.finetune(
            lm, packed, output_dir=Path(folder, "tuned"), learning_rate=rate, batch_size=1, max_steps=steps, checkpoint_steps=steps,
            lora=lora, seed=seed,
        )  # fmt: skip
        score = nbtools.evaluate(tuned.lm, reviews.validation["text"][:SCORED])
    return {"bits_per_byte": score.bits_per_byte, "seconds": round(tuned.seconds, 3), "learning_rate": rate, "dtype": tuned.choices.dtype}


def before(profile: str) -> Row:
    import nbtools

    lm = nbtools.load_model(profile, verbose=False)
    return {"bits_per_byte": nbtools.evaluate(lm, nbtools.load_reviews("package", 400).validation["text"][:SCORED]).bits_per_byte}


def run(options: argparse.Namespace) -> dict[str, Any]:
    profile, steps = ("mini", 3) if options.quick else (options.profile, options.steps)
    calls: dict[str, harness.Planned] = {"untrained": Call("benchmarks.adapters:before", {"profile": profile})}
    seeds = range(options.rounds)
    for seed in seeds:
        for name, lora in WAYS.items():
            arguments = {"profile": profile, "lora": lora, "steps": steps, "seed": seed}
            calls[f"{name}, seed {seed}"] = Call("benchmarks.adapters:trained", arguments)
    found = harness.rounds(calls, 1)
    raw: dict[str, list[Row]] = {name: [found[f"{name}, seed {seed}"][0] for seed in seeds] for name in WAYS}
    summary = {
        name: {one: spread(column(rows, one)) for one in ("bits_per_byte", "seconds", "peak_memory_bytes")} for name, rows in raw.items()
    }
    most = summary["LoRA, rank 16"]["peak_memory_bytes"]["max"]
    memory, time = (ratio(column(raw["LoRA, rank 16"], one), column(raw["all weights"], one)) for one in ("peak_memory_bytes", "seconds"))
    dtype = raw["LoRA, rank 16"][0]["dtype"]
    return {
        "settings": {"profile": profile, "steps": steps, "scored": SCORED},
        "summary": summary,
        "untrained": found["untrained"][0]["bits_per_byte"],
        "ratios": {"memory": memory, "time": time},
        "goals": [goal(f"most memory of training adapters on {profile}, bytes", most, MEMORY, at_most=True, format=dtype)],
        "raw": raw,
    }


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--profile", default="smollm2", help="the model (default: smollm2)")
    made.add_argument("--steps", type=int, default=60, help="optimizer steps of each training (default: 60)")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
