"""A small encoder-decoder, trained from scratch on a task that can be checked exactly: dates as people write them, in ISO 8601."""

from __future__ import annotations

import datetime
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nbtools.errors import InputError
from nbtools.system import progress, quiet_libraries, seed_everything
from nbtools.texts import check_texts
from nbtools.values import checked

FORMS = ("{0.day} {0:%B %Y}", "{0:%B} {0.day}, {0:%Y}", "{0:%a, %d %b %Y}", "the {0.day}{1} of {0:%B, %Y}", "{0.day}.{0.month}.{0:%Y}")
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
LETTERS = " ,.-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PAD, END = 0, 1  # ids; those of LETTERS follow
LONGEST = 40  # characters of a source text


@checked()
def make_dates(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """`count` different dates between 1900 and 2099, each in one of five forms, with its ISO form. Raises InputError for too many."""
    days = (LAST - FIRST).days + 1
    if not 1 <= count <= days:
        raise InputError(f"There are no {count:,} different dates.", f"Ask for 1 to {days:,}.")
    generator = random.Random(seed)
    dates = [FIRST + datetime.timedelta(days=day) for day in generator.sample(range(days), count)]
    return [(_write(date, generator.choice(FORMS)), date.isoformat()) for date in dates]


def _write(date: datetime.date, form: str) -> str:
    ending = "th" if 10 < date.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
    return form.format(date, ending)


@dataclass
class Rewriter:
    """The trained model."""

    model: Any
    history: list[dict[str, float]] = field(default_factory=list)
    """Rows with step, loss, and `right`: the fraction of held-out dates that are rewritten correctly."""

    def rewrite(self, sources: Sequence[str]) -> list[str]:
        """Rewrite each text greedily. Raises InputError for a text that is too long or has characters that the model has never seen."""
        import torch

        ids, mask = encode(sources)
        self.model.eval()
        with torch.inference_mode():
            out = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=12, do_sample=False, num_beams=1)
        return [decode(row) for row in out.tolist()]

    def attention(self, source: str, target: str) -> np.ndarray:
        """Cross-attention, float [len(target), len(source)]: from each character of the answer, mean over the heads of the last layer."""
        import torch

        ids, mask = encode([source])
        labels, _ = encode([target])
        with torch.inference_mode():
            out = self.model(input_ids=ids, attention_mask=mask, labels=labels, output_attentions=True)
        weights = out.cross_attentions[-1][0].mean(0)
        return np.asarray(weights[: len(target), : len(source)])


def encode(texts: Sequence[str]) -> tuple[Any, Any]:
    """Ids and mask, [texts, longest + 1]: one id per character, then END, then padding."""
    import torch

    texts = check_texts(texts)
    known = {letter: index for index, letter in enumerate(LETTERS, 2)}
    for text in texts:
        if strange := next((letter for letter in text if letter not in known), None):
            remedy = "It knows plain letters, digits, spaces, commas, points and hyphens."
            raise InputError(f"The model has never seen {strange!r}.", remedy)
        if not text or len(text) > LONGEST:
            raise InputError(f"A text has {len(text)} characters, which the model was not trained on.", f"Give 1 to {LONGEST}.")
    rows = [torch.tensor([*(known[letter] for letter in text), END]) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    return ids, (ids != PAD).long()


def decode(ids: Sequence[int]) -> str:
    """Return the text of generated ids, without the decoder's start token and up to END."""
    written = itertools.takewhile(lambda index: index != END, ids[1:])
    return "".join(LETTERS[index - 2] for index in written if index != PAD)


@checked(width=(4, 10**5))
def train_rewriter(
    pairs: Sequence[tuple[str, str]],
    held_out: Sequence[tuple[str, str]],
    *,
    max_steps: int = 600,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    width: int = 96,
    seed: int = 0,
) -> Rewriter:
    """Train a T5 model of two layers (Raffel et al., 2020, https://arxiv.org/abs/1910.10683) on characters, from random weights.

    pairs          (source, target) texts to train on
    held_out       (source, target) texts to measure accuracy on
    max_steps      optimizer steps
    batch_size     pairs per step
    learning_rate  highest learning rate of the one-cycle schedule
    width          hidden size
    seed           of the initial weights and of the batches

    The labels are the target itself: the model shifts them to the right to make the decoder's input. Padding in them is ignored by the
    loss (-100).

    Raises InputError for an invalid value and for fewer pairs than a batch.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, T5Config

    if len(pairs) < batch_size:
        raise InputError(f"{len(pairs)} pairs do not fill a batch of {batch_size}.", "Give more pairs, or a smaller batch_size.")
    quiet_libraries()
    seed_everything(seed)
    config = T5Config(
        vocab_size=len(LETTERS) + 2,
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=PAD,
        eos_token_id=END,
        feed_forward_proj="gated-gelu",
    )
    rewriter = Rewriter(AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager"))
    rewriter.model.config.decoder_start_token_id = rewriter.model.generation_config.decoder_start_token_id = PAD
    optimizer = torch.optim.AdamW(rewriter.model.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=max_steps, pct_start=0.1)
    generator = random.Random(seed)
    for step in progress(range(1, max_steps + 1), "training the rewriter", unit="step"):
        rewriter.model.train()
        batch = generator.sample(pairs, batch_size)
        ids, mask = encode([source for source, _ in batch])
        labels, present = encode([target for _, target in batch])
        loss = rewriter.model(input_ids=ids, attention_mask=mask, labels=labels.masked_fill(present == 0, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rewriter.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % max(1, max_steps // 8) == 0 or step == max_steps:
            answers = rewriter.rewrite([source for source, _ in held_out])
            right = sum(answer == target for answer, (_, target) in zip(answers, held_out, strict=True)) / len(held_out)
            rewriter.history.append({"step": step, "loss": loss.item(), "right": right})
    return rewriter
