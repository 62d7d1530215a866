"""The classic mistakes, and a measurement of what each costs in the small experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from nbtools.attention.formulas import sinusoidal_positions
from nbtools.data import tokenize
from nbtools.data.packing import IGNORED
from nbtools.evaluation import evaluate
from nbtools.pitfalls.experiment import SCORED, Batch, Change, Experiment, Run

if TYPE_CHECKING:
    import torch

VERDICTS = ((0.98, "better"), (1.02, "no difference"), (1.25, "a little worse"), (2.0, "clearly worse"), (math.inf, "broken"))
UNDECIDED = "undecided"
PERPLEXITY = "perplexity of held-out reviews"


@dataclass(frozen=True)
class Finding:
    """The measured cost of a mistake."""

    headline: str
    """Name of the figure that is predicted."""
    factor: float
    """How many times worse that figure is with the mistake; below 1: better. Over several seeds, the geometric mean."""
    rows: Sequence[tuple[str, ...]]
    """(figure, with the mistake, without it), as texts; after a training a fourth: without any training."""
    wrong: Run | None = None
    """The run with the mistake, where there was a training; its sample is shown."""
    right: Run | None = None
    untrained: Run | None = None
    factors: tuple[float, ...] = ()
    """One per seed, where several were trained with."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % confidence interval of the factor, by Student's t of its logarithms; None for a single seed."""
        if len(self.factors) < 2:
            return None
        from scipy.stats import t as student_t

        logs = [math.log(factor) for factor in self.factors]
        half = student_t.ppf(0.975, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
        return math.exp(fmean(logs) - half), math.exp(fmean(logs) + half)

    @property
    def verdict(self) -> str:
        """A word of VERDICTS, or UNDECIDED where the interval allows both a better and a worse figure."""
        better, same = VERDICTS[0][0], VERDICTS[1][0]
        low, high = self.interval or (self.factor, self.factor)
        if low < 1 < high and not (better < low and high <= same):
            return UNDECIDED
        return next(word for limit, word in VERDICTS if self.factor <= limit)


def over_seeds(findings: Sequence[Finding]) -> Finding:
    """The finding of the first seed, with the factors of all."""
    factors = tuple(finding.factor for finding in findings)
    return replace(findings[0], factor=math.exp(fmean(map(math.log, factors))), factors=factors)


@dataclass(frozen=True)
class Mistake:
    """One mistake: its name and title, the expected symptom, and the measurement."""

    name: str
    title: str
    symptom: str
    measure: Callable[[Experiment], Finding]
    by_chance: bool = False
    """Whether the figure depends on the seed of a training, so that a small difference may be chance."""


def _train(
    experiment: Experiment, batches: Iterator[Batch], label: str, right: str, change: Change | None = None, **given: bool
) -> Finding:
    """Train with the mistake, and compare with the training on `right` batches, "packed" or "padded"."""
    return _trained(experiment, experiment.train(batches, label, change, **given), experiment.right(right))


def _trained(experiment: Experiment, wrong: Run, right: Run) -> Finding:
    """Compare two trainings by the perplexity of held-out reviews."""
    runs = wrong, right, untrained = wrong, right, experiment.untrained
    rows = [
        (PERPLEXITY, *(f"{run.perplexity:,.1f}" for run in runs)),
        ("the same in nats per token", *(f"{math.log(run.perplexity):.2f}" for run in runs)),
        ("training loss that the loop shows (nats per token)", f"{wrong.loss:.2f}", f"{right.loss:.2f}", "–"),
        ("probability of an end where reviews end", *(f"{run.ending:.2%}" for run in runs)),
        ("positions that are text", f"{wrong.useful:.0%}", f"{right.useful:.0%}", "–"),
    ]
    return Finding(PERPLEXITY, wrong.perplexity / right.perplexity, rows, wrong, right, untrained)


def _shift_labels(_: Experiment, batch: Batch) -> Batch:
    import torch

    labels = batch["labels"]
    ignored = torch.full_like(labels[:, :1], IGNORED)
    return {**batch, "labels": torch.cat([labels[:, 1:], ignored], dim=1)}


def _learn_padding(_: Experiment, batch: Batch) -> Batch:
    return {**batch, "labels": batch["input_ids"].clone()}


def fixed_length(experiment: Experiment) -> Finding:
    wrong, right = experiment.train(experiment.padded(fixed=True), "fixed length"), experiment.right("padded")
    packed = experiment.right("packed")
    rows = [
        ("positions that are text", f"{wrong.useful:.0%}", f"{right.useful:.0%} (packed: {packed.useful:.0%})"),
        ("seconds for the same steps", f"{wrong.seconds:.0f}", f"{right.seconds:.0f}"),
        (PERPLEXITY, f"{wrong.perplexity:,.1f}", f"{right.perplexity:,.1f}"),
    ]
    return Finding("positions computed per token of text", right.useful / wrong.useful, rows, wrong, right)


def _mask_every_end(experiment: Experiment, batch: Batch) -> Batch:
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["input_ids"] == experiment.document_id, IGNORED)}


def ends_masked(experiment: Experiment) -> Finding:
    wrong, right = experiment.train(experiment.padded(), "ends masked", _mask_every_end), experiment.right("padded")
    factor = right.ending / max(wrong.ending, 1e-12)
    return replace(_trained(experiment, wrong, right), headline="probability of an end where reviews end", factor=factor)


def missing_mask(experiment: Experiment) -> Finding:
    """Score a batch of reviews of different lengths, padded on the left as for generation, with and without the mask."""
    ids, mask, positions = _left_padded(experiment)
    right = _perplexity(experiment, ids, mask, attention_mask=mask, position_ids=positions)
    no_positions = _perplexity(experiment, ids, mask, attention_mask=mask)
    wrong = _perplexity(experiment, ids, mask)
    rows = [
        ("perplexity in a left-padded batch", f"{wrong:,.1f}", f"{right:,.1f}"),
        ("with the mask, positions left to the model", f"{no_positions:,.1f}", f"{right:,.1f}"),
    ]
    return Finding("perplexity in a left-padded batch", wrong / right, rows)


def _left_padded(experiment: Experiment, texts: int = 16, longest: int = 96) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and positions, [texts, longest], of the beginnings of held-out reviews, for the model before any training.

    The lengths increase from longest / 8 to longest. There are fewer `texts` where fewer are held out.
    """
    lm = experiment.fresh()
    tokens = tokenize(experiment.reviews.validation["text"][:texts], lm)
    shortest, steps = longest // 8, max(1, len(tokens) - 1)
    lengths = [shortest + index * (longest - shortest) // steps for index in range(len(tokens))]
    rows = [[lm.document_id, *tokens[index].tolist()][:length] for index, length in enumerate(lengths)]
    ids, mask = lm.pad(rows, longest, left=True)
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def _perplexity(experiment: Experiment, ids: torch.Tensor, mask: torch.Tensor, **given: Any) -> float:
    """Perplexity over the tokens that are not padding and follow one that is not padding."""
    import torch

    with torch.inference_mode():
        logits = experiment.lm.model(ids, use_cache=False, **given).logits[:, :-1]
    counted = (mask[:, 1:] * mask[:, :-1]).bool()
    return math.exp(torch.nn.functional.cross_entropy(logits[counted], ids[:, 1:][counted]).item())


CANDIDATES, PART, DRAWS = 16, 15, 2_000  # models to choose from; reviews in a part, at most half of all; repetitions of the choice
NOISE = 0.02  # in standard deviations of each weight matrix: the candidates differ by chance alone


def chosen_on_test(experiment: Experiment) -> Finding:
    """Repeat the choice among models that differ by chance alone, each time with other parts of the reviews."""
    import numpy as np
    import torch

    texts = [*experiment.reviews.validation["text"], *experiment.reviews.test["text"]][:120]
    tokens = tokenize(texts, experiment.lm)
    ids = [
        torch.tensor([experiment.document_id, *tokens[index].tolist()][:64], device=experiment.lm.device) for index in range(len(tokens))
    ]
    part = min(PART, len(ids) // 2)
    losses = np.zeros((CANDIDATES, len(ids)))
    for candidate in range(CANDIDATES):
        _add_noise(experiment.fresh().model, candidate)
        with torch.inference_mode():
            losses[candidate] = [experiment.lm.model(row[None], labels=row[None]).loss.item() for row in ids]
    experiment.fresh()
    truth = losses.mean(1)
    generator = np.random.default_rng(experiment.seed)
    optimism = []
    for _ in range(DRAWS):
        drawn = generator.permutation(len(ids))
        test, validation = losses[:, drawn[:part]].mean(1), losses[:, drawn[part : 2 * part]].mean(1)
        by_test, by_validation = test.argmin(), validation.argmin()
        optimism.append((truth[by_test] - test[by_test], truth[by_validation] - test[by_validation]))
    wrong, right = (math.exp(difference) for difference in np.mean(optimism, axis=0))
    figures = [
        (f"perplexity on new reviews, as a multiple of the one reported (parts of {part})", f"{wrong:.3f}", f"{right:.3f}"),
        ("models to choose among, which differ by chance", str(CANDIDATES), str(CANDIDATES)),
    ]
    return Finding("perplexity on new reviews, as a multiple of the one reported", wrong / right, figures)


def _add_noise(model: Any, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += NOISE * weight.std() * torch.randn(weight.shape, generator=generator).to(weight.device)


def wrong_positions(experiment: Experiment) -> Finding:
    """Replace GPT-2's learned position embeddings by the sinusoids of Vaswani et al. (2017), before any training."""
    import torch

    texts = experiment.reviews.validation["text"][: SCORED // 2]
    right = evaluate(experiment.fresh(), texts).perplexity
    table = dict(experiment.lm.model.named_parameters()).get("transformer.wpe.weight")
    if table is None:
        return _no_positions(experiment)
    waves, spread = sinusoidal_positions(*table.shape).to(table.device), table.std()
    with torch.no_grad():
        table.copy_(waves)
    wrong = evaluate(experiment.lm, texts).perplexity
    with torch.no_grad():
        table.copy_(waves * spread / waves.std())
    scaled = evaluate(experiment.lm, texts).perplexity
    experiment.fresh()
    rows = [
        (PERPLEXITY, f"{wrong:,.1f}", f"{right:,.1f}"),
        ("the same waves, as small as the learned positions", f"{scaled:,.1f}", f"{right:,.1f}"),
    ]
    return Finding(PERPLEXITY, wrong / right, rows)


def _no_positions(experiment: Experiment) -> Finding:
    """For a model with rotary positions (RoPE), which has no table to replace: every token at position 0."""
    ids, mask, positions = _left_padded(experiment)
    right = _perplexity(experiment, ids, mask, attention_mask=mask, position_ids=positions)
    wrong = _perplexity(experiment, ids, mask, attention_mask=mask, position_ids=positions * 0)
    rows = [("perplexity with every token at position 0 (this model has no table of positions)", f"{wrong:,.1f}", f"{right:,.1f}")]
    return Finding(PERPLEXITY, wrong / right, rows)


def _as_in_the_walkthrough(experiment: Experiment, batch: Batch) -> Batch:
    """Shift the labels by one although the model shifts them too, make the last one padding, and train on padding as on text."""
    labels = batch["input_ids"].roll(-1, dims=1)
    labels[:, -1] = experiment.document_id
    return {**batch, "labels": labels}


MISTAKES = (
    Mistake(
        "double-shift",
        "Labels shifted twice",
        "the model learns to predict the token after the next",
        lambda experiment: _train(experiment, experiment.packed(), "double shift", "packed", _shift_labels),
        by_chance=True,
    ),
    Mistake(
        "unmasked-padding",
        "Padding in the loss",
        "the training loss looks very good: nearly half of it is padding that follows padding",
        lambda experiment: _train(
            experiment, experiment.padded(fixed=True), "unmasked padding", "padded", _learn_padding, padding_learned=True
        ),
        by_chance=True,
    ),
    Mistake(
        "fixed-length",
        "Every review padded to the longest possible",
        "the result is the same; the time goes into padding",
        fixed_length,
    ),
    Mistake("ends-masked", "The end masked away with the padding", "nothing teaches the model to stop", ends_masked, by_chance=True),
    Mistake("missing-mask", "No attention mask for a padded batch", "text depends on what else is in the batch", missing_mask),
    Mistake("chosen-on-test", "The test set chooses", "the reported figure is better than the model", chosen_on_test),
    Mistake(
        "documents-mixed",
        "Documents in a block see each other",
        "each review is predicted with a stranger's review before it, at the same positions",
        lambda experiment: _train(experiment, experiment.packed(), "documents mixed", "packed", use_cache=True),
        by_chance=True,
    ),
    Mistake(
        "wrong-positions",
        "“GPT-2 encodes positions by sine and cosine”",
        "a model that learned its positions cannot read others",
        wrong_positions,
    ),
    Mistake(
        "walkthrough",
        "The walkthrough's three, on this model",
        "labels shifted twice, padding learned, rows padded to their longest",
        lambda experiment: _train(
            experiment, experiment.padded(fixed=True), "walkthrough", "packed", _as_in_the_walkthrough, padding_learned=True
        ),
        by_chance=True,
    ),
)
