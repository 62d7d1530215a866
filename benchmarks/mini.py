"""The shipped model against an earlier one: bits per byte of a held-out book, of reviews before, and after minutes of fine-tuning.

    python -m benchmarks.mini --against FOLDER [--corpus FILE] [--minutes 1 2 5] [--seeds 3] [--reading FILE] [--quick]

The earlier one is a folder; that of any commit is had with `git archive COMMIT nbtools/assets/mini | tar -x -C FOLDER`. Both are
fine-tuned by `nbtools.finetune` at the profile's learning rate and batch for the same wall time: as many steps as fit, by the
estimate's measure of a step, with the learning rate falling to zero over them. Bits per byte compare across tokenizers. The corpus is
needed for the held-out book only. With --reading, a sheet of unfiltered samples in random order, and its key, for somebody to
judge blind.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, goal, spread
from nbtools.errors import InputError
from nbtools.profiles import PROFILES
from nbtools.storage import Kind, destination, replace_text
from nbtools.storage.json_files import read_object

NAME = "mini"
BOOK = "zane-grey_riders-of-the-purple-sage"  # neither model has read a line of it
BETTER = 0.08  # fewer bits per byte than the earlier model, after MINUTES of fine-tuning
MINUTES = 2.0
SCORED = 200  # validation reviews
TRAINED = 12_000  # reviews, so many that none is seen twice
PROMPTS = ("The movie was", "I watched this film because", "The acting", "This is one of", "The director")


def before(model: str, corpus: str | None, quick: bool = False) -> Row:
    """Bits per byte before any fine-tuning."""
    import nbtools
    from tools.mini.corpus import read_corpus

    lm = nbtools.load_model(model, verbose=False)
    found: Row = {
        "reviews": nbtools.evaluate(lm, _reviews(60 if quick else TRAINED).validation[:SCORED]["text"]).bits_per_byte,
        "parameters": lm.parameters,
    }
    if corpus:
        texts = [document.text for document in read_corpus(corpus) if document.source == BOOK]
        found["book"] = nbtools.evaluate(lm, texts, "held-out book").bits_per_byte
    return found


def after(model: str, minutes: float, seed: int, quick: bool = False) -> Row:
    """Bits per byte of reviews after `minutes` of fine-tuning, and texts that the tuned model writes."""
    import nbtools

    lm = nbtools.load_model(model, verbose=False)
    mini = PROFILES["mini"]
    data = _reviews(60 if quick else TRAINED)
    packed = nbtools.pack(data.train, lm, mini.block_size)
    plan: dict[str, Any] = {"learning_rate": mini.learning_rate, "batch_size": mini.batch_size, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "tuned")
        probed = nbtools.estimate(lm, packed, max_steps=20 if quick else 300, output_dir=place, **plan)
        steps = max(1, round(minutes * 60 / probed.step_seconds))
        tuned = nbtools.finetune(lm, packed, output_dir=place, max_steps=steps, checkpoint_steps=steps, choices=probed.choices, **plan)
    texts = [nbtools.generate(tuned.lm, prompt, temperature=0.8, top_p=0.95, seed=number, max_new_tokens=50)
             for number in range(4) for prompt in PROMPTS]  # fmt: skip
    score = nbtools.evaluate(tuned.lm, data.validation["text"][:SCORED])
    return {"bits_per_byte": score.bits_per_byte, "steps": steps, "seconds": round(tuned.seconds, 1), "seed": seed, "texts": texts}


def _reviews(count: int) -> Any:
    import nbtools

    return nbtools.load_reviews("package", max_reviews=count)


def summarize(raw: dict[str, Any], minutes: list[float]) -> dict[str, Any]:
    """By minutes, each model's bits per byte, and how much less the shipped one needs, seed by seed."""
    tuned = {}
    for one in minutes:
        rows = {name: raw[f"{name}, {one:g} minutes"] for name in ("earlier", "shipped")}
        figures = {name: [row["bits_per_byte"] for row in found] for name, found in rows.items()}
        fewer = [1 - new / old for new, old in zip(figures["shipped"], figures["earlier"], strict=True)]
        tuned[f"{one:g}"] = {name: spread(found) for name, found in figures.items()} | {"fewer": spread(fewer)}
    return {"before": {name: raw[f"{name}, before"][0] for name in ("earlier", "shipped")}, "after": tuned}


def run(options: argparse.Namespace) -> dict[str, Any]:
    if not Path(options.against, "config.json").is_file():
        raise InputError(f"{options.against} holds no model.", "See python -m benchmarks.mini --help for how to get an earlier one.")
    models = {"earlier": str(options.against.resolve()), "shipped": "mini"}
    reading = options.reading and destination(options.reading, READING, "--reading")
    if reading:
        destination(key_of(reading), KEY, "--reading")
    minutes = [0.05] if options.quick else sorted(options.minutes)
    corpus = str(options.corpus.resolve()) if options.corpus else None
    first: dict[str, harness.Planned] = {
        f"{name}, before": Call("benchmarks.mini:before", {"model": model, "corpus": corpus, "quick": options.quick})
        for name, model in models.items()
    }
    raw = harness.rounds(first, 1)
    for seed in range(1 if options.quick else options.seeds):
        calls: dict[str, harness.Planned] = {
            f"{name}, {one:g} minutes": Call(
                "benchmarks.mini:after", {"model": model, "minutes": one, "seed": seed, "quick": options.quick}
            )
            for one in minutes
            for name, model in models.items()
        }
        for name, rows in harness.rounds(calls, 1).items():
            raw.setdefault(name, []).extend(rows)
    summary = summarize(raw, minutes)
    judged = summary["after"].get(f"{MINUTES:g}")
    goals = [goal(f"fewer bits per byte than the earlier model after {MINUTES:g} minutes", judged and judged["fewer"]["median"], BETTER)]
    if reading:
        sheet(reading, raw, f"{(MINUTES if judged else minutes[-1]):g}")
    return {"settings": {"scored": SCORED, "trained": TRAINED}, "summary": summary, "goals": goals, "raw": raw}


def key_of(sheet: Path) -> Path:
    return sheet.with_suffix(".key.json")


KEY = Kind("the key to a sheet for a blind reading", lambda file: read_object(file).keys() == {"A"}, is_file=True)
READING = Kind("a sheet for a blind reading", lambda file: KEY.is_made(key_of(file)), is_file=True)


def sheet(path: Path, raw: dict[str, Any], minutes: str) -> None:
    """Write pairs of texts for the same prompt and seed, in random order, and beside them the key to who wrote which."""
    found = {name: raw[f"{name}, {minutes} minutes"] for name in ("earlier", "shipped")}
    ratios = [new["bits_per_byte"] / old["bits_per_byte"] for old, new in zip(found["earlier"], found["shipped"], strict=True)]
    typical = ratios.index(sorted(ratios)[len(ratios) // 2])  # the seed in the middle: neither model's best
    rows = {name: one[typical]["texts"] for name, one in found.items()}
    lines, key = [], []
    for number, pair in enumerate(zip(rows["earlier"], rows["shipped"], strict=True), 1):
        order = random.sample((0, 1), 2)
        key.append(["earlier", "shipped"][order[0]])
        lines += [f"{number} A  {pair[order[0]]!r}", f"{number} B  {pair[order[1]]!r}", ""]
    replace_text(path, "\n".join(lines))
    replace_text(key_of(path), json.dumps({"A": key}))


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--against", type=Path, required=True, help="the folder of the earlier model")
    made.add_argument("--corpus", type=Path, help="what the model was pretrained on, for the held-out book")
    made.add_argument("--minutes", type=float, nargs="+", default=[1, MINUTES, 5], help="of fine-tuning (default: 1 2 5)")
    made.add_argument("--seeds", type=int, default=3, help="fine-tunings of each (default: 3)")
    made.add_argument("--reading", type=Path, help="write a sheet for a blind reading there, and its key beside it")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
