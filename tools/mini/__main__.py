"""Make the model that ships with the course: compare recipes, pretrain on a corpus of plain text, write the model card.

    python -m tools.mini generate runs/generated     # modern English from SmolLM2, to resume as often as you like
    python -m tools.mini corpus runs/generated CORPUS --after BOOKS    # what is good of it, after books
    python -m tools.mini experiments CORPUS          # every recipe of experiments.toml, at the same compute
    python -m tools.mini train CORPUS runs/mini      # the final recipe; Ctrl-C and --resume as often as you like
    python -m tools.mini card runs/mini              # the model and its card into nbtools/assets/mini

A corpus is a .jsonl or .jsonl.xz file of {"source", "text"} objects, a .txt file, or a folder of .txt files.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import tomllib
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbtools import generate, load_model
from nbtools.errors import CourseError, InputError
from nbtools.models.loading import MINI_FOLDER
from nbtools.storage import Kind, atomic_folder, destination, runs_folder, write_text
from nbtools.storage.destinations import MODEL
from nbtools.training.checkpoints import check_output
from nbtools.training.metrics import machine, versions
from tools.mini.card import pretraining_card
from tools.mini.corpus import Document, is_corpus, read_corpus, split_corpus
from tools.mini.generate import TEACHER, generate_shards, is_generated, read_shards, write_corpus
from tools.mini.pretrain import check_fits, held_out_score, pretrain, tokenizer_for
from tools.mini.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
HELD_OUT = ("zane-grey_riders-of-the-purple-sage", "wilkie-collins_the-moonstone")
STORED_BYTES = 24_000_000  # upper limit of the weights in 16 bits, without the tokenizer
PROMPTS = 4 * ("The movie was", "She opened the letter and", "In the evening", "I had never seen", "He was a man who")
AGAINST = "Against the model that it replaced, before and after minutes of fine-tuning on reviews: `mini` in `benchmarks/README.md`."
CHOSEN = (
    "Taken over: the larger vocabulary, the schedule, a higher rate for the embeddings. Not taken over: a width of 192, which is ahead "
    "while it has seen more tokens than the wider model could; by the law of Hoffmann et al. (2022, arXiv:2203.15556) that lead is gone at "
    "the compute of the final training, which was not tried. An output layer of its own, because GPT-2 has none, and the course explains "
    "GPT-2. Batches of 4, because over seven thousand steps the noise of small batches should no longer buy anything; not tried either."
)
SCORED_CHARACTERS = 16_000  # per excerpt of a held-out document, after an experiment
MOST_CHARACTERS = 5  # upper bound of the mean characters per token, so that an experiment sees no text twice unless it asks for it
EXPERIMENTS = HERE.parents[1] / "docs" / "mini" / "experiments.json"


def _is_log(file: Path) -> bool:
    try:
        log = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return False
    return isinstance(log, list) and all(isinstance(row, dict) and {"name", "flops", "seed"} <= row.keys() for row in log)


LOG = Kind("a log of experiments", _is_log, is_file=True)
CORPUS = Kind("a corpus", is_corpus, is_file=True)
PRETRAINED = Kind("a saved model", lambda folder: folder == MINI_FOLDER.resolve() or MODEL.is_made(folder))

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
Corpus = Annotated[Path, typer.Argument(help="The training corpus.")]
HoldOut = Annotated[list[str], typer.Option("--hold-out", help="The source of a document that is only scored.")]
Repeat = Annotated[int, typer.Option(min=1, help="How many times a generated text counts; a book counts once.")]


def _tokenizer(documents: list[Document], recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer for a corpus, trained on as many characters of books as of generated texts; on all where there is one kind only."""
    generated = [document.text for document in documents if is_generated(document)]
    books = [document.text for document in documents if not is_generated(document)]
    if generated and books:
        share = min(1.0, sum(map(len, generated)) / sum(map(len, books)))
        books = [text[: round(share * len(text))] for text in books]
    return tokenizer_for([*books, *generated], recipe)


def _repeated(documents: list[Document], repeat: int) -> list[Document]:
    return documents + (repeat - 1) * [document for document in documents if is_generated(document)]


def _split(corpus: Path, hold_out: list[str]) -> tuple[list[Document], list[Document]]:
    documents = read_corpus(corpus)
    size = sum(len(document.text) for document in documents)
    print(f"{len(documents)} documents, {size / 1e6:.1f} million characters; held out: {', '.join(hold_out) or 'none'}.")
    return split_corpus(documents, hold_out)


@app.command(name="generate")
def generate_texts(
    out: Annotated[Path, typer.Argument(help="The folder of the shards.")],
    shards: Annotated[int, typer.Option(min=1, help="Files of 2,048 texts, about 0.4 million tokens each.")] = 16,
    first: Annotated[int, typer.Option(min=0, help="Number of the first file; another one gives other texts.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Texts at a time; 256 take 3 GB.")] = 256,
) -> None:
    """Sample texts from SmolLM2 (`nbtools fetch smollm2`). Example: python -m tools.mini generate runs/generated --shards 4"""
    generate_shards(load_model(TEACHER), out, shards, first=first, rows=rows)


@app.command(name="corpus")
def make_corpus(
    shards: Annotated[Path, typer.Argument(help="The folder of the shards.")],
    out: Annotated[Path, typer.Argument(help="The corpus, a .jsonl.xz file.")],
    after: Annotated[list[Path], typer.Option(help="A corpus of books or of earlier texts, which comes first; may be repeated.")] = [],  # noqa: B006
) -> None:
    """Filter generated texts and write a corpus. Example: python -m tools.mini corpus runs/generated runs/corpus.jsonl.xz"""
    if not out.name.endswith(".jsonl.xz"):
        raise InputError(f"{out.name} does not end in .jsonl.xz.", "Give a name that does.")
    out = destination(out, CORPUS, "OUT")
    counts: dict[str, int] = {}
    before = [document for path in after for document in read_corpus(path)]
    earlier = [document for document in before if is_generated(document)]
    written = write_corpus(chain(before, read_shards(shards, counts, earlier)), out)
    texts = sum(counts.values())
    print(f"{written} documents in {out}, {len(before)} of them from other corpora; of {texts} generated texts:")
    for reason, count in sorted(counts.items(), key=itemgetter(1), reverse=True):
        print(f"  {reason:14} {count:7,}  {count / texts:.1%}")


@app.command()
def train(
    corpus: Corpus,
    out: Annotated[Path, typer.Argument(help="The run's folder.")],
    values: Annotated[list[str], typer.Option("-r", metavar="NAME=VALUE", help="A hyperparameter of the recipe.")] = [],  # noqa: B006
    flops: Annotated[
        float, typer.Option(help="Train for this compute, in floating-point operations, instead of the recipe's steps.")
    ] = 0.0,
    resume: Annotated[bool, typer.Option(help="Continue the interrupted run.")] = False,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 200,
    hold_out: HoldOut = list(HELD_OUT),  # noqa: B006
    repeat: Repeat = 1,
) -> None:
    """Pretrain a model. Example: python -m tools.mini train books.jsonl runs/mini -r layers=8 -r steps=4000"""
    out = check_output(out)
    recipe = Recipe().changed({**_base(), **_pairs(values)})
    recipe = recipe.at(flops) if flops else recipe
    check_fits(recipe, STORED_BYTES)
    learned, held = _split(corpus, hold_out)
    tokenizer = _tokenizer(learned, recipe)
    done = pretrain(_repeated(learned, repeat), held, recipe, out, tokenizer=tokenizer, resume=resume, checkpoint_steps=checkpoint_steps)
    record: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "flops": recipe.flops,
        "tokens": recipe.tokens,
        "seconds": round(done.seconds, 1),
        "parameters": done.lm.parameters,
        "choices": done.choices,
        "documents": len(learned),
        "characters": sum(len(document.text) for document in learned),
        "generated_documents": sum(map(is_generated, learned)),
        "generated_characters": sum(len(document.text) for document in learned if is_generated(document)),
        "repeat": repeat,
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
    flops: Annotated[float, typer.Option(help="Compute per experiment, in floating-point operations.")] = 5e13,
    only: Annotated[list[str], typer.Option(help="The name of an experiment; may be repeated. Default: all.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of the weights and the order of the blocks.")] = 0,
    hold_out: HoldOut = list(HELD_OUT),  # noqa: B006
    out: Annotated[
        Path, typer.Option(help="The log. An experiment that it holds with the same compute and seed is not run again.")
    ] = EXPERIMENTS,
) -> None:
    """Train every recipe of experiments.toml with the same compute and log the results."""
    out = destination(out, LOG, "--out")
    plan = tomllib.loads((HERE / "experiments.toml").read_text(encoding="utf8"))["experiment"]
    if unknown := set(only) - {one["name"] for one in plan}:
        raise InputError(f"There is no experiment {unknown.pop()!r}.", f"There are: {', '.join(one['name'] for one in plan)}.")
    log: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf8")) if out.is_file() else []
    done = {(row["name"], row["flops"], row["seed"]) for row in log}
    due = [one for one in plan if (not only or one["name"] in only) and (one["name"], flops, seed) not in done]
    learned, held = _split(corpus, hold_out)
    for number, one in enumerate(due, 1):
        recipe = replace(Recipe().changed({**_base(), **one["change"]}), seed=seed).at(flops)
        print(f"[{number}/{len(due)}] {one['name']}: {recipe.steps} steps, {recipe.tokens:,} tokens")
        share = one.get("share_of_text", 1.0)
        part = [Document(book.source, book.text[: _characters(recipe, len(learned), share)]) for book in learned]
        start = time.monotonic()
        place = runs_folder() / "mini-experiments" / f"{one['name'].replace(' ', '-')}-{seed}"
        made = pretrain(part, [], recipe, place, tokenizer=_tokenizer(learned, recipe))
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
    """Characters to take from the beginning of each document, so that together they hold at least `share` of the recipe's tokens."""
    return max(recipe.context * 8, round(recipe.tokens * share * MOST_CHARACTERS / documents))


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training.")],
    log: Annotated[Path, typer.Option(help="The experiments' log.")] = EXPERIMENTS,
    to: Annotated[Path, typer.Option(help="The model's folder.")] = MINI_FOLDER,
) -> None:
    """Put the model of a run into the package, with a model card from its records and samples."""
    to = destination(to, PRETRAINED, "--to")
    if not (run / "pretraining.json").is_file():
        raise InputError(f"{run} is not the folder of a finished training.", "Run: python -m tools.mini train CORPUS RUN")
    lm = load_model(str(run / "model"))
    length = min(50, lm.context // 2)
    samples = [
        {"prompt": prompt, "text": generate(lm, prompt, max_new_tokens=length, temperature=0.8, top_p=0.95, seed=seed).removeprefix(prompt)}
        for seed, prompt in enumerate(PROMPTS)
    ]
    record = json.loads((run / "pretraining.json").read_text(encoding="utf8"))
    curve = [json.loads(line) for line in (run / "curve.jsonl").read_text(encoding="utf8").splitlines()]
    tried = json.loads(log.read_text(encoding="utf8")) if log.is_file() else []
    with atomic_folder(to, "model") as aside:
        shutil.copytree(run / "model", aside, dirs_exist_ok=True)
        (aside / "README.md").write_text(pretraining_card("mini", record, curve, tried, samples, AGAINST, CHOSEN), encoding="utf8")
    print(f"Written: {to}")


def _pairs(values: list[str]) -> dict[str, str]:
    if bad := [value for value in values if "=" not in value]:
        raise InputError(f"{bad[0]!r} is not of the form NAME=VALUE.", "Write for example: -r layers=8")
    return dict(value.split("=", 1) for value in values)


def _base() -> dict[str, Any]:
    base: dict[str, Any] = tomllib.loads((HERE / "experiments.toml").read_text(encoding="utf8"))["base"]
    return base


if __name__ == "__main__":
    try:
        app()
    except CourseError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
