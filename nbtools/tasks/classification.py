"""Sentiment classification: a classification head on the language model, and the language model asked without a head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtools.accel.fast_path import faster_layers
from nbtools.data import tokenize
from nbtools.errors import InputError, MachineError
from nbtools.evaluation import Z95
from nbtools.models import evaluating, load_model
from nbtools.system import choose_dtype, progress, quiet_libraries, seed_everything
from nbtools.texts import check_texts
from nbtools.training.memory import free_memory, held_memory
from nbtools.values import checked

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.models import LanguageModel


@dataclass(frozen=True)
class Classified:
    """A classifier's predictions for labelled texts."""

    name: str
    probabilities: np.ndarray
    """float64 [texts], of being positive."""
    labels: np.ndarray
    """int [texts]: 0 negative, 1 positive."""

    @property
    def guesses(self) -> np.ndarray:
        return (self.probabilities >= 0.5).astype(int)

    @property
    def accuracy(self) -> float:
        return float((self.guesses == self.labels).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy on reviews of this kind."""
        return wilson_interval(int((self.guesses == self.labels).sum()), len(self.labels))

    def confusion(self) -> np.ndarray:
        """The confusion matrix, int [2, 2]: rows are the true label, columns the prediction."""
        found = np.zeros((2, 2), int)
        np.add.at(found, (self.labels, self.guesses), 1)
        return found

    def worst(self, count: int = 3) -> list[int]:
        """Indices of the `count` most confident wrong predictions."""
        wrong = np.flatnonzero(self.guesses != self.labels)
        return [int(index) for index in wrong[np.argsort(-np.abs(self.probabilities[wrong] - 0.5))][:count]]

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{self.name}: {self.accuracy:.1%} right (95 % interval {low:.1%} to {high:.1%}, {len(self.labels):,} reviews)"


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion, within 0 and 1 (Wilson, 1927, doi:10.1080/01621459.1927.10502953).

    Raises InputError where `successes` of `total` is not a proportion.
    """
    if not 0 <= successes <= total or total < 1:
        raise InputError(f"{successes} of {total} is not a proportion.", "Give a count, and the number that it is out of.")
    share = successes / total
    middle = share + Z95**2 / (2 * total)
    half = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    scale = 1 + Z95**2 / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@dataclass
class Classifier:
    """A model with a classification head."""

    model: Any
    lm: LanguageModel
    """The language model that it was made from."""
    max_tokens: int
    """Tokens read from the end of each text."""
    name: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry per epoch: epoch, mean loss and validation accuracy."""

    def classify(self, part: Dataset) -> Classified:
        """Classify labelled texts, batched by similar length."""
        import torch

        rows = _rows(part, self.lm, self.max_tokens)
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
        found = np.zeros(len(rows))
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), 16):
                indices = order[start : start + 16]
                ids, mask = self.lm.pad([rows[index] for index in indices])
                logits = self.model(ids, attention_mask=mask, use_cache=False).logits
                found[indices] = logits.softmax(-1)[:, 1].double().cpu().numpy()
        return Classified(self.name, found, np.asarray(part["label"]))


@checked(epochs=(1, 10**5), max_tokens=(2, 10**6))
def train_classifier(
    model: str | LanguageModel,
    train: Dataset,
    validation: Dataset,
    *,
    name: str | None = None,
    epochs: int = 3,
    learning_rate: float = 3e-4,
    batch_size: int = 8,
    max_tokens: int = 192,
    seed: int = 0,
) -> Classifier:
    """Put a new head for two labels on `model` and train all weights, with a learning rate that falls to zero.

    model       a language model, which is left as it is, or the name of one
    train       labelled reviews
    validation  labelled reviews that are classified after each epoch, for the history; they do not influence the training
    name        of the classifier in tables and pictures
    max_tokens  tokens read from the end of each review, where most state their opinion (`last_tokens`)

    transformers classifies at the last token that is not padding, and recognizes padding by its id. Padding is end-of-text here, so no
    review may end with end-of-text; each begins with it instead. Raises InputError for an invalid value and for fewer reviews than a
    batch, MachineError where memory is too small.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    quiet_libraries()
    lm = load_model(model, verbose=False) if isinstance(model, str) else model
    _check_memory(lm)
    seed_everything(seed)  # the head is initialized now
    made = AutoModelForSequenceClassification.from_config(_with_labels(lm))
    made.base_model.load_state_dict(lm.model.base_model.state_dict())
    made.to(lm.device)
    found = Classifier(made, lm, min(max_tokens, lm.context), name or f"{lm.name} with a head")
    rows, labels = _rows(train, lm, found.max_tokens), torch.tensor(train["label"], device=lm.device)
    steps = epochs * (len(rows) // batch_size)
    if steps < 1:
        raise InputError(f"{len(rows)} reviews do not fill a batch of {batch_size}.", "Give more reviews, or a smaller batch_size.")
    optimizer = torch.optim.AdamW(made.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    bf16 = choose_dtype().name == "bf16"  # measured: where matrix products in 16 bits are faster on this machine
    order = torch.Generator().manual_seed(seed)
    bar = progress(range(0), "training the classifier", total=steps, unit="step")
    for epoch in range(epochs):
        made.train()
        indices, losses = torch.randperm(len(rows), generator=order).tolist(), []
        with faster_layers(made, torch.bfloat16 if bf16 else torch.float32, right_padded=True):
            for start in range(0, len(indices) - batch_size + 1, batch_size):
                chosen = indices[start : start + batch_size]
                ids, mask = lm.pad([rows[index] for index in chosen])
                with torch.autocast(lm.device.type, torch.bfloat16, enabled=bf16):
                    loss = made(ids, attention_mask=mask, labels=labels[chosen], use_cache=False).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                losses.append(loss.item())
                bar.update()
        accuracy = found.classify(validation).accuracy
        found.history.append({"epoch": epoch + 1, "loss": sum(losses) / len(losses), "validation_accuracy": accuracy})
    bar.close()
    return found


def _check_memory(lm: LanguageModel) -> None:
    """Raise MachineError where memory is too small for any batch size.

    Five values of 4 bytes per weight: the language model's (held already), the classifier's, its gradient, and AdamW's two moments.
    """
    needed, available = held_memory() + 16 * lm.parameters, held_memory() + free_memory()
    if needed > available:
        raise MachineError(
            f"Training a classifier on {lm.name} needs {needed / 1e9:.1f} GB of memory, "
            f"and this process can have {available / 1e9:.1f} GB.",
            "Shut other notebooks' kernels down, or use a smaller profile.",
        )


def _with_labels(lm: LanguageModel) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.for_model(**lm.model.config.to_dict())
    config.num_labels, config.pad_token_id = 2, lm.document_id
    config.update({name: 0.0 for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop") if hasattr(config, name)})
    return config


def last_tokens(part: Dataset, lm: LanguageModel, max_tokens: int) -> Dataset:
    """`part` with each text cut to what a classifier reads of it: its last max_tokens - 1 tokens, after end-of-text."""
    texts = lm.tokenizer.batch_decode([row[1:] for row in _rows(part, lm, max_tokens)])
    return part.remove_columns("text").add_column("text", texts)  # not `map`, which would hash the model and cannot


def _rows(part: Dataset | Sequence[str], lm: LanguageModel, max_tokens: int) -> list[list[int]]:
    tokens = tokenize(check_texts(part), lm)
    return [[lm.document_id, *tokens[index][-(max_tokens - 1) :].tolist()] for index in range(len(tokens))]


def zero_shot(
    lm: LanguageModel,
    part: Dataset,
    *,
    question: str = "\n\nAll in all, the movie was",
    words: tuple[str, str] = (" terrible", " great"),
    max_tokens: int = 192,
) -> tuple[Classified, Classified]:
    """Classify reviews without training, by which of two words is more probable after a review and a question.

    lm          the model
    part        reviews with the columns text and label
    question    text that is appended to each review
    words       the words that mean negative and positive
    max_tokens  maximum length of the review, question and answer together; the beginning of a longer review is cut off

    Returns the predictions without and with calibration. Calibration subtracts the model's preference after the question alone, because one
    word may be more probable after any review (Zhao et al., 2021, https://arxiv.org/abs/2102.09690).
    """
    import torch

    asked = lm.tokenizer(question, add_special_tokens=False)["input_ids"]
    answers = [lm.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    available = min(max_tokens, lm.context) - len(asked) - max(map(len, answers))
    tokens = tokenize(check_texts(part), lm)

    def odds(text: list[int]) -> float:
        """ln p(second) - ln p(first) after the text and the question."""
        context = [lm.document_id, *text, *asked]
        ids, mask = lm.pad([[*context, *answer] for answer in answers])
        with evaluating(lm.model), torch.inference_mode():
            logs = lm.model(ids, attention_mask=mask, use_cache=False).logits[:, len(context) - 1 :].log_softmax(-1)
        first, second = (
            sum(logs[row, position, token].item() for position, token in enumerate(answer)) for row, answer in enumerate(answers)
        )
        return second - first

    found = np.array([odds(tokens[index][-available:].tolist()) for index in progress(range(len(tokens)), "asking", unit="review")])
    labels = np.asarray(part["label"])
    return (
        Classified(f"{lm.name} asked, as it is", 1 / (1 + np.exp(-found)), labels),
        Classified(f"{lm.name} asked, calibrated", 1 / (1 + np.exp(odds([]) - found)), labels),
    )
