"""The small experiment that every mistake is measured on: same model, reviews, seed and steps; one line differs.

The loop is plain PyTorch, without the course's trainer, so that a correct line can be replaced by a wrong one. Where documents and padding
see only what they should, the model's passes are the fast ones of `nbtools.accel`, with the same results up to rounding.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from nbtools.accel.fast_path import FastPath, faster_layers, fits
from nbtools.data import load_reviews, pack, tokenize
from nbtools.data.packing import IGNORED
from nbtools.evaluation import evaluate
from nbtools.generation import generate
from nbtools.models import load_model, note_training
from nbtools.system import onednn_is_faster, progress, seed_everything
from nbtools.texts import check_texts
from nbtools.training import TrainingChoices
from nbtools.training.memory import check_memory, free_memory, held_memory, least_memory
from nbtools.values import CHECKS

if TYPE_CHECKING:
    import torch

    from nbtools.data import Reviews
    from nbtools.models import LanguageModel

Batch = dict[str, Any]
Change = Callable[["Experiment", Batch], Batch]

SCORED = 40  # validation reviews that a run is scored on
ENDS = 24  # the shortest of them, on which the probability of end-of-text is measured
PROMPT = "The movie was"
LOGGED = 10  # steps per mean of the training loss, as in the walkthrough's log
SAMPLED = 40  # tokens


@dataclass(frozen=True)
class Run:
    """The result of one training run, or the untrained model."""

    losses: list[float]
    """The training loss of each step, as the loop saw it, in nats per token; empty without a training."""
    perplexity: float
    """Perplexity of held-out reviews, always scored by `nbtools.evaluation`, regardless of how the model was trained."""
    ending: float
    """Mean probability of end-of-text where held-out reviews end."""
    sample: str
    """A text that the model writes."""
    useful: float = math.nan
    """Fraction of the computed positions that are text and are predicted."""
    seconds: float = 0.0
    """Duration of the training."""

    @property
    def loss(self) -> float:
        """Mean of the last ten losses, in nats per token; NaN without a training."""
        return fmean(self.losses[-LOGGED:]) if self.losses else math.nan

    def mean_losses(self, steps: int = LOGGED) -> list[float]:
        """Means of `steps` losses each, from the first; the last one may be of fewer."""
        return [fmean(self.losses[start : start + steps]) for start in range(0, len(self.losses), steps)]


@dataclass
class Experiment:
    """A model, reviews and the settings of a training. Raises InputError for an invalid value."""

    profile: str = "mini"
    max_steps: int = 40
    """Optimizer steps."""
    max_reviews: int = 600
    """Reviews over all parts."""
    block_size: int = 512
    """Tokens per row."""
    batch_size: int = 2
    """Rows per step."""
    learning_rate: float | None = None
    """At the start, falling linearly to zero; None: the profile's."""
    seed: int = 0
    """Of the order of the reviews, and of the sample."""
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    """The runs without a mistake, by kind of batch and seed, each made once."""

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_reviews", "block_size", "batch_size", "learning_rate", "seed"):
            if name != "learning_rate" or self.learning_rate is not None:
                setattr(self, name, CHECKS[name](name, getattr(self, name)))

    @functools.cached_property
    def lm(self) -> LanguageModel:
        return load_model(self.profile, verbose=False)

    @functools.cached_property
    def reviews(self) -> Reviews:
        return load_reviews("auto", self.max_reviews)

    @functools.cached_property
    def _initial(self) -> dict[str, torch.Tensor]:
        return {name: weight.clone() for name, weight in self.lm.model.state_dict().items()}

    @property
    def document_id(self) -> int:
        return self.lm.document_id

    def fresh(self) -> LanguageModel:
        """The model as it was before any training."""
        self.lm.model.load_state_dict(self._initial)
        note_training(self.lm.model)
        return self.lm

    def packed(self) -> Iterator[Batch]:
        """An endless iterator over batches of packed blocks, in the seed's order."""
        from torch.utils.data import default_collate

        return self._batches(pack(self.reviews.train, self.lm, self.block_size), default_collate)

    def padded(self, fixed: bool = False) -> Iterator[Batch]:
        """Batches of one review per row, truncated to block_size: end-of-text, the text, end-of-text, and padding with end-of-text.

        fixed  whether rows are padded to block_size rather than to the longest one of the batch

        Labels are the tokens; padding is left out of the loss.
        """
        tokens = tokenize(check_texts(self.reviews.train), self.lm)
        rows = [[self.document_id, *tokens[index].tolist(), self.document_id][: self.block_size] for index in range(len(tokens))]

        def collate(rows: list[list[int]]) -> Batch:
            ids, mask = self.lm.pad(rows, self.block_size if fixed else 0)
            return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, IGNORED)}

        return self._batches(rows, collate)

    def _batches(self, rows: Any, collate: Callable[[list[Any]], Batch]) -> Iterator[Batch]:
        import torch

        order = torch.Generator().manual_seed(self.seed)
        while True:
            indices = torch.randperm(len(rows), generator=order).tolist()
            for start in range(0, len(indices) - self.batch_size + 1, self.batch_size):
                yield collate([rows[index] for index in indices[start : start + self.batch_size]])

    def right(self, kind: str) -> Run:
        """The run without a mistake, on "packed" blocks or "padded" rows; made at the first call."""
        key = (kind, self.seed)
        if key not in self.runs:
            self.runs[key] = self.train(self.packed() if kind == "packed" else self.padded(), f"right, {kind}")
        return self.runs[key]

    @functools.cached_property
    def untrained(self) -> Run:
        """The model as it was before any training."""
        return self._measured(self.fresh(), losses=[])

    def train(
        self, batches: Iterator[Batch], label: str, change: Change | None = None, *, use_cache: bool = False, padding_learned: bool = False
    ) -> Run:
        """Train a fresh model for max_steps and measure it.

        change           what the mistake does to each batch
        use_cache        passed to the model; with a cache, documents in a block attend to each other
        padding_learned  whether padding has labels; what it attends to then matters

        Raises MachineError where memory is too small.
        """
        import torch

        # Training in fp32 with the library's loss, and a copy of the weights.
        needed = least_memory(self.lm.model, self.batch_size, self.block_size, TrainingChoices()) + 4 * self.lm.parameters
        check_memory(needed, held_memory() + free_memory(), self.lm.model, self.batch_size, self.block_size, can_use_lora=False)
        lm = self.fresh()
        seed_everything(self.seed)
        model, losses, useful, computed = lm.model, [], 0, 0
        learning_rate = self.learning_rate or lm.defaults.learning_rate
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.max_steps)
        start = time.perf_counter()
        fast = lm.device.type == "cpu" and fits(model) and not (use_cache or padding_learned)  # its attention knows neither mask nor cache
        with FastPath(model, torch.float32, onednn=onednn_is_faster()) if fast else faster_layers(model):
            for _ in progress(range(self.max_steps), label, unit="step"):
                batch = next(batches)
                useful += int((batch["labels"][:, 1:] != IGNORED).sum())
                computed += batch["input_ids"].numel()
                batch = change(self, batch) if change else batch
                batch = {name: values.to(lm.device) for name, values in batch.items()}
                loss = model(**batch, use_cache=use_cache).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                losses.append(loss.item())
        seconds = time.perf_counter() - start
        return self._measured(lm, losses=losses, useful=useful / computed, seconds=seconds)

    def _measured(self, lm: LanguageModel, **training: Any) -> Run:
        texts = self.reviews.validation["text"][:SCORED]
        sample = generate(lm, PROMPT, seed=self.seed, max_new_tokens=SAMPLED, temperature=0.7, top_k=50)
        return Run(perplexity=evaluate(lm, texts).perplexity, ending=self.ending(texts), sample=str(sample), **training)

    def ending(self, texts: Sequence[str]) -> float:
        """The mean probability of end-of-text after the last token of the shortest of `texts`."""
        import torch

        tokens = tokenize(sorted(texts, key=len)[:ENDS], self.lm)
        found = []
        with torch.inference_mode():
            for index in range(len(tokens)):
                ids = torch.tensor([[self.document_id, *tokens[index].tolist()][-self.lm.context :]], device=self.lm.device)
                found.append(self.lm.model(ids).logits[0, -1].softmax(-1)[self.document_id].item())
        return sum(found) / len(found)
