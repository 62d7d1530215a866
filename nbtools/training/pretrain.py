"""Pretrain a small GPT-2 on plain text with the same loop, checkpoints and fast path that fine-tune one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nbtools.accel.fast_path import FastPath
from nbtools.data import Document, pack
from nbtools.errors import InputError
from nbtools.evaluation import Score, evaluate
from nbtools.models import LanguageModel, new_gpt2, save_model, train_tokenizer
from nbtools.runtime import cached, device, keep_freed_memory, put_in_place, quiet_libraries, say, seed_everything
from nbtools.runtime.foreign import read_json_lines
from nbtools.texts import check_texts
from nbtools.training import folders, loop
from nbtools.training.blocks import OrderedBlocks
from nbtools.training.callbacks import LOGGING_STEPS, Curve
from nbtools.training.choices import FORMATS, choose, describe, fast_path
from nbtools.training.loop import dropping
from nbtools.training.muon import Muon
from nbtools.training.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, TrainerCallback

SAMPLE_CHARACTERS = 4_000  # of a held-out document, for each point of the curve
SAMPLES = 8
POINTS = 10  # of the curve that are scored on held-out text


@dataclass
class Pretrained:
    """A finished pretraining: the model, in evaluation mode; its folder; its curve; seconds of training alone; what was chosen."""

    lm: LanguageModel
    folder: Path
    recipe: Recipe
    curve: list[dict[str, Any]]
    seconds: float
    choices: dict[str, Any]


def tokenizer_for(texts: Iterable[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer that `texts` teach, from the cache when the same texts did before."""
    from transformers import PreTrainedTokenizerFast

    texts = check_texts(texts)
    digest = hashlib.blake2b(f"{recipe.vocabulary} {recipe.context}".encode(), digest_size=16)
    for text in texts:
        digest.update(hashlib.blake2b(text.encode("utf8", "surrogatepass")).digest())
    folder = cached("tokenizers", digest.hexdigest())
    if not (folder / "tokenizer.json").is_file():
        say(f"Training a tokenizer of {recipe.vocabulary:,} tokens on {len(texts):,} texts.")
        with put_in_place(folder) as aside:
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
    """Train a new GPT-2 by `recipe`; its folder then holds `model/` (fp16), `plan.json` and `curve.jsonl`.

    train, held_out   documents to learn from, and others of which parts are scored along the way (they choose nothing)
    tokenizer         made by `tokenizer_for`; None: one that learns from `train`
    resume            go on from the newest whole checkpoint of the same plan
    checkpoint_steps  a checkpoint every so many steps (default: a fifth of the run)
    dtype, compile, threads   as in `finetune`

    Ctrl-C saves a checkpoint and raises RunError. Raises InputError for an impossible recipe.
    """
    target = folders.check_output(output_dir)
    quiet_libraries()
    seed_everything(recipe.seed)
    tokenizer = tokenizer or tokenizer_for([document.text for document in train], recipe)
    lm = new_gpt2(
        tokenizer, layers=recipe.layers, heads=recipe.heads, width=recipe.width, context=recipe.context, tied=recipe.tied, seed=recipe.seed
    )
    packed = pack([document.text for document in train], lm, recipe.context)
    count = recipe.steps * recipe.batch_size
    short_count = round(recipe.short_share * recipe.steps) * recipe.batch_size
    blocks = OrderedBlocks(packed, count, recipe.seed, short_count, recipe.short)
    plan = {
        **recipe.to_dict(),
        "max_steps": recipe.steps,
        "learning_rate": recipe.rate,
        "blocks_sha256": hashlib.sha256(packed.input_ids.tobytes()).hexdigest(),
    }
    model = lm.model
    # The first of the long blocks, though short ones may come first: they take the most time and memory.
    batch = blocks.collate([blocks[min(short_count, count - 1)]] * recipe.batch_size)
    with keep_freed_memory(), dropping(model, recipe.dropout):
        if resume:
            folder, choices, checkpoint = folders.reopen(target, plan)
        else:
            batch = {name: part.to(device()) for name, part in batch.items()}
            choices = choose(model, batch, recipe.steps, dtype=dtype, compile=compile, threads=threads) | {"bf16_copies": False}
            folder, checkpoint = folders.begin(target, {**plan, "choices": choices}), None
        say(describe(choices))
        if checkpoint:
            say(f"Going on from step {folders.step_of(checkpoint)} of {recipe.steps}.")
        say(f"{lm.parameters:,} parameters, {recipe.tokens:,} tokens ({recipe.tokens / packed.input_ids.size:.2f} epochs).")
        torch.set_num_threads(choices["threads"])
        fast = fast_path(model, choices)
        curve = _curve(lm, fast, folder, recipe, held_out)
        seed_everything(recipe.seed)
        loop.train(
            model, blocks, folder, plan, choices, fast, recipe.batch_size, [curve, *callbacks], save_steps=checkpoint_steps,
            checkpoint=checkpoint, arguments=_arguments(recipe),
            optimizer=lambda model: _optimizer(model, recipe, FORMATS[choices["dtype"]]),
        )  # fmt: skip
    model.eval()
    seconds = curve.seconds
    stored = new_gpt2(tokenizer, layers=recipe.layers, heads=recipe.heads, width=recipe.width, context=recipe.context, tied=recipe.tied)
    stored.model.load_state_dict(model.state_dict())
    stored.model.half()
    save_model(stored, folder / "model")
    folders.finish(target)
    rows = read_json_lines(target / "curve.jsonl", {"step": int, "seconds": float})
    model.load_state_dict(stored.model.state_dict())  # as whoever loads it will have it: rounded to 16 bits
    return Pretrained(lm, target, recipe, rows, seconds, choices)


def held_out_score(lm: LanguageModel, held_out: Sequence[Document], characters: int | None = None) -> Score:
    """Bits per byte of documents that were not trained on: whole, or of each eight evenly spaced parts of `characters`."""
    texts = _sample(held_out, characters) if characters else [document.text for document in held_out]
    return evaluate(lm, texts, "held-out documents")


def _curve(lm: LanguageModel, fast: FastPath | None, folder: Path, recipe: Recipe, held_out: Sequence[Document]) -> Curve:
    sample = _sample(held_out, SAMPLE_CHARACTERS)

    def validate(step: int) -> dict[str, float]:
        with fast.paused() if fast else torch.no_grad():
            return {"held_out_bits_per_byte": evaluate(replace(lm), sample, "held-out sample").bits_per_byte}

    every = max(LOGGING_STEPS, round(recipe.steps / POINTS / LOGGING_STEPS) * LOGGING_STEPS)
    tokens = recipe.batch_size * recipe.context
    return Curve(folder / "curve.jsonl", tokens, validate if sample else None, every, None, "pretraining")


def _sample(held_out: Sequence[Document], characters: int) -> list[str]:
    """Parts of the held-out documents, evenly spaced."""
    parts: list[str] = []
    for document in held_out:
        for number in range(SAMPLES):
            begin = number * len(document.text) // SAMPLES
            parts.append(document.text[begin : begin + characters])
    return [part for part in parts if part.strip()]


def _optimizer(model: Any, recipe: Recipe, dtype: torch.dtype) -> torch.optim.Optimizer:
    """Muon or AdamW for `model`, with weight decay on the matrices of the blocks only."""
    inside = [weight for weight in model.transformer.h.parameters() if weight.ndim == 2]
    inner = {id(weight) for weight in inside}
    others = [weight for weight in model.parameters() if id(weight) not in inner]
    if recipe.optimizer == "muon":
        return Muon(inside, others, matrix_lr=recipe.matrix_rate, lr=recipe.rate, weight_decay=recipe.weight_decay, dtype=dtype)
    groups = [{"params": inside, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95), fused=True)


def _arguments(recipe: Recipe) -> dict[str, Any]:
    """What Trainer is told beside a fine-tuning's settings."""
    warmup = max(1, round(recipe.warmup * recipe.steps))
    settings: dict[str, Any] = {"warmup_steps": warmup, "lr_scheduler_type": recipe.schedule, "train_sampling_strategy": "sequential"}
    if recipe.schedule == "wsd":
        decay = min(recipe.steps - warmup, max(1, round(recipe.decay * recipe.steps)))
        settings["lr_scheduler_type"] = "warmup_stable_decay"
        settings["lr_scheduler_kwargs"] = {"num_decay_steps": decay, "decay_type": "linear"}
    return settings


def check_fits(recipe: Recipe, stored_bytes: int) -> None:
    """Raise InputError when the model of `recipe`, in 16 bits, would be larger than `stored_bytes`."""
    if (size := 2 * recipe.stored_parameters) > stored_bytes:
        raise InputError(f"This model would take {size / 1e6:.1f} MB in 16 bits; {stored_bytes / 1e6:.0f} MB are allowed.", "Choose less.")
