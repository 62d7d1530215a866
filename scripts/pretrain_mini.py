"""Make the model that ships with the course: pretrain it on a corpus of plain text, try recipes against each other, write its card.

    python scripts/pretrain_mini.py experiments CORPUS          # every recipe of mini_experiments.toml, at the same compute
    python scripts/pretrain_mini.py train CORPUS runs/mini      # the final recipe; Ctrl-C and --resume as often as you like
    python scripts/pretrain_mini.py card runs/mini              # the model and its card into nbtools/assets/mini

A corpus is a .jsonl or .jsonl.xz file of {"source", "text"} objects, a .txt file, or a folder of .txt files.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from nbtools import generate, load_model, load_reviews
from nbtools.data import Document, read_corpus, split_corpus
from nbtools.errors import CourseError, InputError
from nbtools.models.loading import MINI_FOLDER
from nbtools.runtime import Kind, destination, put_in_place, runs_folder, write_text
from nbtools.runtime.destinations import MODEL
from nbtools.training.card import pretraining_card
from nbtools.training.checkpoints import check_output
from nbtools.training.metrics import machine, versions
from nbtools.training.pretrain import check_fits, held_out_score, pretrain, tokenizer_for
from nbtools.training.recipe import Recipe

HERE = Path(__file__).parent
HELD_OUT = ("zane-grey_riders-of-the-purple-sage", "wilkie-collins_the-moonstone")
STORED_BYTES = 24_000_000  # what the weights may take in 16 bits; the tokenizer lies beside them
PROMPTS = 4 * ("The movie was", "She opened the letter and", "In the evening", "I had never seen", "He was a man who")
AGAINST = "Against the model that it replaced, before and after minutes of fine-tuning on reviews: `mini` in `benchmarks/README.md`."
CHOSEN = (
    "Taken over: the larger vocabulary, the schedule, a higher rate for the embeddings. Not taken over: a width of 192, which is ahead "
    "while it has seen more tokens than the wider model could; by the law of Hoffmann et al. (2022, arXiv:2203.15556) that lead is gone at "
    "the compute of the final training, which was not tried. An output layer of its own, because GPT-2 has none, and the course explains "
    "GPT-2. Batches of 4, because over seven thousand steps the noise of small batches should no longer buy anything; not tried either."
)
SCORED_CHARACTERS = 16_000  # of each of a held-out document's eight parts, after an experiment
MOST_CHARACTERS = 5  # that a token has, over a whole text: with so many, no experiment sees a text twice unless it asks for that
EXPERIMENTS = HERE.parent / "docs" / "mini" / "experiments.json"


def _is_log(file: Path) -> bool:
    try:
        log = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return False
    return isinstance(log, list) and all(isinstance(row, dict) and {"name", "flops", "seed"} <= row.keys() for row in log)


LOG = Kind("a log of experiments", _is_log, is_file=True)
PRETRAINED = Kind("a saved model", lambda folder: folder == MINI_FOLDER.resolve() or MODEL.is_made(folder))

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
Corpus = Annotated[Path, typer.Argument(help="The text to learn from.")]
HoldOut = Annotated[list[str], typer.Option("--hold-out", help="A document that is only scored, by its source.")]
Reviews = Annotated[bool, typer.Option(help="Whether the tokenizer, not the model, also learns from training reviews.")]


def _texts(documents: list[Document], reviews: bool) -> list[str]:
    """What the tokenizer learns from: the documents, and every second training review; none of those for validation and test."""
    return [document.text for document in documents] + (list(load_reviews("package").train["text"])[::2] if reviews else [])


def _halves(corpus: Path, hold_out: list[str]) -> tuple[list[Document], list[Document]]:
    documents = read_corpus(corpus)
    size = sum(len(document.text) for document in documents)
    print(f"{len(documents)} documents, {size / 1e6:.1f} million characters; held out: {', '.join(hold_out) or 'none'}.")
    return split_corpus(documents, hold_out)


@app.command()
def train(
    corpus: Corpus,
    out: Annotated[Path, typer.Argument(help="The run's folder.")],
    values: Annotated[list[str], typer.Option("-r", metavar="NAME=VALUE", help="A value of the recipe.")] = [],  # noqa: B006
    flops: Annotated[float, typer.Option(help="Take as many steps as this compute allows, instead of the recipe's number.")] = 0.0,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted run.")] = False,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 200,
    hold_out: HoldOut = list(HELD_OUT),  # noqa: B006
    reviews: Reviews = True,
) -> None:
    """Pretrain a model. Example: python scripts/pretrain_mini.py train books.jsonl runs/mini -r layers=8 -r steps=4000"""
    out = check_output(out)
    recipe = Recipe().changed({**_base(), **_pairs(values)})
    recipe = recipe.at(flops) if flops else recipe
    check_fits(recipe, STORED_BYTES)
    learned, held = _halves(corpus, hold_out)
    tokenizer = tokenizer_for(_texts(learned, reviews), recipe)
    done = pretrain(learned, held, recipe, out, tokenizer=tokenizer, resume=resume, checkpoint_steps=checkpoint_steps)
    record = {
        "recipe": recipe.to_dict(),
        "flops": recipe.flops,
        "tokens": recipe.tokens,
        "seconds": round(done.seconds, 1),
        "parameters": done.lm.parameters,
        "choices": done.choices,
        "documents": len(learned),
        "characters": sum(len(document.text) for document in learned),
        "held_out": [document.source for document in held],
        "held_out_score": held_out_score(done.lm, held).to_dict() if held else None,
        "versions": versions(),
        "machine": {name: value for name, value in machine().items() if name != "host"},
    }
    write_text(out / "pretraining.json", json.dumps(record, indent=1) + "\n")
    print(f"Done: {out / 'model'}" + (f", {record['held_out_score']['bits_per_byte']:.4f} bits per byte held out" if held else ""))


@app.command()
def experiments(
    corpus: Corpus,
    flops: Annotated[float, typer.Option(help="Compute of each, in floating-point operations.")] = 5e13,
    only: Annotated[list[str], typer.Option(help="The name of an experiment, more than once for several. Default: all.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    hold_out: HoldOut = list(HELD_OUT),  # noqa: B006
    out: Annotated[Path, typer.Option(help="The log; what it holds of the same compute and seed is not run again.")] = EXPERIMENTS,
) -> None:
    """Train every recipe of mini_experiments.toml at the same compute and log what it came to."""
    out = destination(out, LOG, "--out")
    plan = tomllib.loads((HERE / "mini_experiments.toml").read_text(encoding="utf8"))["experiment"]
    if unknown := set(only) - {one["name"] for one in plan}:
        raise InputError(f"There is no experiment {unknown.pop()!r}.", f"There are: {', '.join(one['name'] for one in plan)}.")
    log: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf8")) if out.is_file() else []
    done = {(row["name"], row["flops"], row["seed"]) for row in log}
    due = [one for one in plan if (not only or one["name"] in only) and (one["name"], flops, seed) not in done]
    learned, held = _halves(corpus, hold_out)
    texts = _texts(learned, reviews=True)
    for number, one in enumerate(due, 1):
        recipe = replace(Recipe().changed({**_base(), **one["change"]}), seed=seed).at(flops)
        print(f"[{number}/{len(due)}] {one['name']}: {recipe.steps} steps, {recipe.tokens:,} tokens")
        share = one.get("share_of_text", 1.0)
        part = [Document(book.source, book.text[: _characters(recipe, len(learned), share)]) for book in learned]
        start = time.monotonic()
        place = runs_folder() / "mini-experiments" / f"{one['name'].replace(' ', '-')}-{seed}"
        made = pretrain(part, [], recipe, place, tokenizer=tokenizer_for(texts, recipe))
        score = held_out_score(made.lm, held, SCORED_CHARACTERS)
        row = {
            "name": one["name"], "asks": one["asks"], "flops": flops, "seed": seed, "tokens": recipe.tokens, "steps": recipe.steps,
            "parameters": made.lm.parameters, "bits_per_byte": score.bits_per_byte, "seconds": round(made.seconds, 1),
            "wall_seconds": round(time.monotonic() - start, 1), "dtype": made.choices["dtype"], "recipe": recipe.to_dict(),
        }  # fmt: skip
        log.append(row)
        write_text(out, json.dumps(log, indent=1) + "\n")
        print(f"  {score.bits_per_byte:.4f} bits per byte held out, {made.seconds:.0f} s of training")


def _characters(recipe: Recipe, documents: int, share: float) -> int:
    """Characters of each document's beginning, so that all together hold `share` of the recipe's tokens, and with 1 a little more."""
    return max(recipe.context * 8, round(recipe.tokens * share * MOST_CHARACTERS / documents))


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training.")],
    log: Annotated[Path, typer.Option(help="The experiments' log.")] = EXPERIMENTS,
    to: Annotated[Path, typer.Option(help="Where the model goes.")] = MINI_FOLDER,
) -> None:
    """Put the model of a run into the package, with the card that its records and its samples make."""
    to = destination(to, PRETRAINED, "--to")
    if not (run / "pretraining.json").is_file():
        raise InputError(f"{run} holds no finished training.", "Run: python scripts/pretrain_mini.py train CORPUS RUN")
    lm = load_model(str(run / "model"))
    length = min(50, lm.context // 2)
    samples = [
        {"prompt": prompt, "text": generate(lm, prompt, max_new_tokens=length, temperature=0.8, top_p=0.95, seed=seed).removeprefix(prompt)}
        for seed, prompt in enumerate(PROMPTS)
    ]
    record = json.loads((run / "pretraining.json").read_text(encoding="utf8"))
    curve = [json.loads(line) for line in (run / "curve.jsonl").read_text(encoding="utf8").splitlines()]
    tried = json.loads(log.read_text(encoding="utf8")) if log.is_file() else []
    with put_in_place(to, "model") as aside:
        shutil.copytree(run / "model", aside, dirs_exist_ok=True)
        (aside / "README.md").write_text(pretraining_card("mini", record, curve, tried, samples, AGAINST, CHOSEN), encoding="utf8")
    print(f"Written: {to}")


def _pairs(values: list[str]) -> dict[str, str]:
    if bad := [value for value in values if "=" not in value]:
        raise InputError(f"{bad[0]!r} is no NAME=VALUE.", "Write for example: -r layers=8")
    return dict(value.split("=", 1) for value in values)


def _base() -> dict[str, Any]:
    base: dict[str, Any] = tomllib.loads((HERE / "mini_experiments.toml").read_text(encoding="utf8"))["base"]
    return base


if __name__ == "__main__":
    try:
        app()
    except CourseError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
