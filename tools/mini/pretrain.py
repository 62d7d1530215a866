"""Pretrain a small GPT-2 on plain text, with the training loop, checkpoints and fast path of fine-tuning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nbtools.data import pack
from nbtools.errors import InputError
from nbtools.evaluation import Score, evaluate
from nbtools.models import LanguageModel, save_model
from nbtools.storage import atomic_folder, cached
from nbtools.storage.json_files import read_json_lines
from nbtools.system import device, keep_freed_memory, keep_threads, quiet_libraries, say, seed_everything
from nbtools.texts import check_texts
from nbtools.training import checkpoints
from nbtools.training.callbacks import Curve
from nbtools.training.choices import FORMATS, measure_choices
from nbtools.training.config import ResolvedConfig
from nbtools.training.loop import Loop, override_dropout
from tools.mini.blocks import OrderedBlocks
from tools.mini.corpus import Document
from tools.mini.generate import is_generated
from tools.mini.muon import Muon
from tools.mini.new_model import new_gpt2, train_tokenizer
from tools.mini.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, TrainerCallback

SAMPLE_CHARACTERS = 4_000  # per excerpt of a held-out document, for the curve
SAMPLES = 8  # excerpts per held-out document
POINTS = 10  # points of the curve that are scored on held-out text


@dataclass
class Pretrained:
    """The result of a pretraining.

    lm       the model, in evaluation mode
    folder   of the run
    recipe   its hyperparameters
    curve    the rows of `curve.jsonl`
    seconds  of training, without setup and scoring
    choices  dtype, compilation and threads, as chosen
    """

    lm: LanguageModel
    folder: Path
    recipe: Recipe
    curve: list[dict[str, Any]]
    seconds: float
    choices: dict[str, Any]


def tokenizer_for(texts: Iterable[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer trained on `texts`, from the cache if it was trained before."""
    from transformers import PreTrainedTokenizerFast

    texts = check_texts(texts)
    digest = hashlib.blake2b(f"{recipe.vocabulary} {recipe.context}".encode(), digest_size=16)
    for text in texts:
        digest.update(hashlib.blake2b(text.encode("utf8", "surrogatepass")).digest())
    folder = cached("tokenizers", digest.hexdigest())
    if not (folder / "tokenizer.json").is_file():
        say(f"Training a tokenizer of {recipe.vocabulary:,} tokens on {len(texts):,} texts.")
        with atomic_folder(folder) as aside:
            train_tokenizer(texts, recipe.vocabulary, recipe.context).save_pretrained(aside)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def pretrain(
    train: Sequence[Document],
    held_out: Sequence[Document],
    recipe: Recipe,
    output_dir: str | Path,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    resume: bool = False,
    checkpoint_steps: int | None = None,
    dtype: str | None = None,
    compile: bool | None = None,
    threads: int | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Pretrained:
    """Train a new GPT-2 with `recipe`; its folder then holds `model/` (fp16), `plan.json` and `curve.jsonl`.

    train             training documents
    held_out          documents of which excerpts are scored during training; they do not influence it
    recipe            hyperparameters
    output_dir        folder of the run
    tokenizer         from `tokenizer_for`; None: trained on `train`
    resume            continue from the newest complete checkpoint with the same plan
    checkpoint_steps  steps between two checkpoints (default: a fifth of the run)
    dtype, compile, threads   as in `finetune`
    callbacks         further callbacks for `Trainer`

    Ctrl-C saves a checkpoint and raises RunError. Raises InputError for an invalid recipe.
    """
    target = checkpoints.check_output(output_dir)
    quiet_libraries()
    seed_everything(recipe.seed)
    tokenizer = tokenizer or tokenizer_for([document.text for document in train], recipe)
    lm = new_gpt2(
        tokenizer, layers=recipe.layers, heads=recipe.heads, width=recipe.width, context=recipe.context, tied=recipe.tied, seed=recipe.seed
    )
    packed = pack([document.text for document in train], lm, recipe.context)
    count = recipe.steps * recipe.batch_size
    short_count = round(recipe.short_share * recipe.steps) * recipe.batch_size
    late = [block for block, document in enumerate(packed.document_ids[:, 0]) if is_generated(train[document])]
    late_count = round(recipe.late_share * recipe.steps) * recipe.batch_size
    blocks = OrderedBlocks(packed, count, recipe.seed, short_count, recipe.short, late, late_count)
    plan = {
        **recipe.to_dict(),
        "max_steps": recipe.steps,
        "learning_rate": recipe.rate,
        "blocks_sha256": hashlib.sha256(packed.input_ids.tobytes()).hexdigest(),
    }
    config = ResolvedConfig(
        learning_rate=recipe.rate, batch_size=recipe.batch_size, max_steps=recipe.steps, seed=recipe.seed, dropout=recipe.dropout,
        dtype=dtype, compile=compile, threads=threads, checkpoint_steps=checkpoint_steps,
    )  # fmt: skip
    model = lm.model
    # A long block, although short ones may come first: long ones need the most time and memory.
    batch = blocks.collate([blocks[min(short_count, count - 1)]] * recipe.batch_size)
    with keep_freed_memory(), keep_threads(), override_dropout(model, recipe.dropout):
        if resume:
            begun = checkpoints.reopen(target, plan)
        else:
            batch = {name: part.to(device()) for name, part in batch.items()}
            begun = checkpoints.begin(target, plan, replace(measure_choices(model, batch, config), bf16_copies=False))
        folder, choices = begun.folder, begun.choices
        say(choices.describe())
        if begun.checkpoint:
            say(f"Resuming from step {checkpoints.step_of(begun.checkpoint)} of {recipe.steps}.")
        say(f"{lm.parameters:,} parameters, {recipe.tokens:,} tokens ({recipe.tokens / packed.input_ids.size:.2f} epochs).")
        torch.set_num_threads(choices.threads)
        loop = Loop(model, blocks, begun, config, lambda model: _optimizer(model, recipe, FORMATS[choices.dtype]), _arguments(recipe))
        curve = _curve(loop, lm, recipe, held_out)
        seed_everything(recipe.seed)
        loop.train([curve, *callbacks])
    model.eval()
    seconds = curve.seconds
    stored = new_gpt2(tokenizer, layers=recipe.layers, heads=recipe.heads, width=recipe.width, context=recipe.context, tied=recipe.tied)
    stored.model.load_state_dict(model.state_dict())
    stored.model.half()
    save_model(stored, folder / "model")
    checkpoints.finish(target)
    rows = read_json_lines(target / "curve.jsonl", {"step": int, "seconds": float})
    model.load_state_dict(stored.model.state_dict())  # as whoever loads it will have it: rounded to 16 bits
    return Pretrained(lm, target, recipe, rows, seconds, choices.to_dict())


def held_out_score(lm: LanguageModel, held_out: Sequence[Document], characters: int | None = None) -> Score:
    """Bits per byte of the held-out documents, or of eight evenly spaced excerpts of `characters` of each."""
    texts = _sample(held_out, characters) if characters else [document.text for document in held_out]
    return evaluate(lm, texts, "held-out documents")


def _curve(loop: Loop, lm: LanguageModel, recipe: Recipe, held_out: Sequence[Document]) -> Curve:
    sample = _sample(held_out, SAMPLE_CHARACTERS)

    def validate(step: int) -> dict[str, float]:
        with loop.plain_model():
            return {"held_out_bits_per_byte": evaluate(replace(lm), sample, "held-out sample").bits_per_byte}

    tokens = recipe.batch_size * recipe.context
    return Curve(loop.run.folder / "curve.jsonl", tokens, validate if sample else None, points=POINTS, label="pretraining")


def _sample(held_out: Sequence[Document], characters: int) -> list[str]:
    """Evenly spaced excerpts of the held-out documents."""
    parts: list[str] = []
    for document in held_out:
        for number in range(SAMPLES):
            begin = number * len(document.text) // SAMPLES
            parts.append(document.text[begin : begin + characters])
    return [part for part in parts if part.strip()]


def _optimizer(model: Any, recipe: Recipe, dtype: torch.dtype) -> torch.optim.Optimizer:
    """Muon or AdamW, with weight decay only for the matrices of the blocks."""
    inside = [weight for weight in model.transformer.h.parameters() if weight.ndim == 2]
    inner = {id(weight) for weight in inside}
    others = [weight for weight in model.parameters() if id(weight) not in inner]
    if recipe.optimizer == "muon":
        return Muon(inside, others, matrix_lr=recipe.matrix_rate, lr=recipe.rate, weight_decay=recipe.weight_decay, dtype=dtype)
    groups = [{"params": inside, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95), fused=True)


def _arguments(recipe: Recipe) -> dict[str, Any]:
    """Training arguments that differ from those of fine-tuning."""
    warmup = max(1, round(recipe.warmup * recipe.steps))
    settings: dict[str, Any] = {"warmup_steps": warmup, "lr_scheduler_type": recipe.schedule, "train_sampling_strategy": "sequential"}
    if recipe.schedule == "wsd":
        decay = min(recipe.steps - warmup, max(1, round(recipe.decay * recipe.steps)))
        settings["lr_scheduler_type"] = "warmup_stable_decay"
        settings["lr_scheduler_kwargs"] = {"num_decay_steps": decay, "decay_type": "linear"}
    return settings


def check_fits(recipe: Recipe, stored_bytes: int) -> None:
    """Raise InputError if the model of `recipe` in 16 bits is larger than `stored_bytes`."""
    if (size := 2 * recipe.stored_parameters) > stored_bytes:
        raise InputError(
            f"This model would take {size / 1e6:.1f} MB in 16 bits; {stored_bytes / 1e6:.0f} MB are allowed.", "Choose a smaller model."
        )
