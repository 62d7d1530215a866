"""Evaluate a language model: negative log-likelihood per token, perplexity, bits per byte, and a check for copied training text."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from nbtools.accel.fast_path import FastPath, can_score
from nbtools.data import Packed, Tokens, tokenize
from nbtools.data.packing import IGNORED
from nbtools.errors import InputError
from nbtools.models import LanguageModel, evaluating
from nbtools.system import onednn_is_faster, progress
from nbtools.texts import check_text, check_texts
from nbtools.values import checked

if TYPE_CHECKING:
    from datasets import Dataset

WINDOW = 512  # tokens per window; the same for every model, so that scores do not depend on the block size of training
STRIDE = 256  # tokens by which the windows of a longer text move; every scored token has at least this much context
Z95 = 1.959964  # standard deviations on either side of the mean that hold 95 % of a normal distribution
BATCH_TOKENS = 2048  # scored in one pass without padding
_MAX_LOGITS = 2**24  # of a padded batch: logits held in memory at a time (64 MiB in fp32)


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood of a set of texts under a model."""

    nll: float
    """Sum over all scored tokens, in nats; the end-of-text token after each text is scored as well."""
    tokens: int
    """Number of scored tokens."""
    bytes: int
    """Length of the texts in UTF-8."""
    reviews: int
    """Number of texts."""
    per_review: np.ndarray
    """float64 [reviews]; negative log-likelihood of each text, in nats."""
    review_bytes: np.ndarray
    """int64 [reviews]; length of each text in UTF-8."""

    @property
    def perplexity(self) -> float:
        """exp(nll / tokens); comparable only between models with the same tokenizer."""
        return math.exp(self.nll / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """nll / (ln 2 * bytes); comparable between models with different tokenizers."""
        return self.nll / math.log(2) / self.bytes

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of bits per byte for texts of this kind, from how much the texts differ; NaN for a single text."""
        return _ratio_interval(self.per_review / math.log(2), self.review_bytes)

    def change_from(self, before: Score) -> tuple[float, tuple[float, float]]:
        """The difference in bits per byte from `before`, a score of the same texts, and its 95 % confidence interval.

        Text by text, so what makes a text hard for both models cancels out. Raises InputError for a score of other texts.
        """
        if not np.array_equal(self.review_bytes, before.review_bytes):
            raise InputError("The two scores are of different texts.", "Score both models on the same texts.")
        changes = (self.per_review - before.per_review) / math.log(2)
        return self.bits_per_byte - before.bits_per_byte, _ratio_interval(changes, self.review_bytes)

    def to_dict(self) -> dict[str, float | int]:
        """Return the scores as a dict that can be stored as JSON."""
        return {name: getattr(self, name) for name in ("perplexity", "bits_per_byte", "nll", "tokens", "bytes", "reviews")}

    def __repr__(self) -> str:
        size = f"{self.tokens:,} tokens of {self.reviews:,} reviews"
        return f"perplexity {self.perplexity:,.1f}, {self.bits_per_byte:.3f} bits per byte ({size})"


def _ratio_interval(amounts: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The 95 % confidence interval of sum(amounts) / sum(sizes) over samples like these (the ratio estimator; Cochran, 1977, ch. 6)."""
    count, ratio = len(sizes), amounts.sum() / sizes.sum()
    if count < 2:
        return math.nan, math.nan
    half = Z95 * math.sqrt(count / (count - 1) * ((amounts - ratio * sizes) ** 2).sum()) / sizes.sum()
    return float(ratio - half), float(ratio + half)


@dataclass(frozen=True)
class _Window:
    review: int  # index of the text
    ids: np.ndarray
    scored: int  # the last `scored` tokens are scored; those before are context


def evaluate(lm: LanguageModel, texts: Dataset | Sequence[str], label: str = "validation") -> Score:
    """Compute the negative log-likelihood of texts under a model, in fp32.

    lm     the model
    texts  a collection of strings, or a data set with a column `text`
    label  name of the texts in the progress bar

    Each text is scored separately: it is preceded by end-of-text, each of its tokens is scored once, and then the end-of-text after it.
    Long texts are scored in windows of 512 tokens (or the model's context, if shorter) that move by half their length; a token is scored
    in the first window that contains it. Sums are divided by token counts at the end; a mean of batch means would give short batches too
    much weight. A control token spelled out in a text is scored as plain text.

    Raises InputError if there is no text to score, and for anything but a collection of strings.
    """
    texts = check_texts(texts)
    if not any(texts):
        raise InputError("There is no text to score.", "Give at least one text that is not empty.")
    windows = sorted(_windows(lm, tokenize(texts, lm, f"tokenizing {label}")), key=lambda window: -len(window.ids))
    per_review = np.zeros(len(texts))
    with evaluating(lm.model), torch.inference_mode():  # locked, so that a path is made of the model as it is
        fast = FastPath(lm.model, torch.float32, onednn=onednn_is_faster()) if can_score(lm.model) else None
        batches = list(_batches(windows) if fast else _padded_batches(windows, int(lm.model.config.vocab_size)))
        with fast or contextlib.nullcontext():
            for batch in progress(batches, f"scoring {label}", unit="batch"):
                sums = fast.score([window.ids for window in batch], [window.scored for window in batch]) if fast else _score(lm, batch)
                for window, nll in zip(batch, sums, strict=True):
                    per_review[window.review] += nll
    tokens = sum(window.scored for window in windows)
    sizes = np.array([len(text.encode("utf8")) for text in texts])
    return Score(float(per_review.sum()), tokens, int(sizes.sum()), len(texts), per_review, sizes)


def computed_tokens(lm: LanguageModel, texts: Sequence[str]) -> int:
    """Return the number of tokens that `evaluate` computes for `texts`, without padding; a long text's are mostly in two windows."""
    return sum(len(window.ids) for window in _windows(lm, tokenize(texts, lm))) if texts else 0


def _windows(lm: LanguageModel, tokens: Tokens) -> Iterator[_Window]:
    window = min(WINDOW, lm.context)
    stride = min(STRIDE, window // 2)
    edge = np.array([lm.document_id], dtype=np.int32)
    for review in range(len(tokens)):
        ids = np.concatenate([edge, tokens[review], edge])
        end = min(window, len(ids))
        yield _Window(review, ids[:end], end - 1)
        while end < len(ids):
            before, end = end, min(end + stride, len(ids))
            yield _Window(review, ids[max(0, end - window) : end], end - before)


def _batches(windows: list[_Window]) -> Iterator[list[_Window]]:
    """Group windows into batches of at most BATCH_TOKENS tokens."""
    batch: list[_Window] = []
    size = 0
    for window in windows:
        if batch and size + len(window.ids) > BATCH_TOKENS:
            yield batch
            batch, size = [], 0
        batch.append(window)
        size += len(window.ids)
    if batch:
        yield batch


def _padded_batches(windows: list[_Window], vocabulary: int) -> Iterator[list[_Window]]:
    """Group windows of similar length into batches, so that there is little padding and the logits fit into memory."""
    batch: list[_Window] = []
    for window in windows:
        longest = len(batch[0].ids) if batch else len(window.ids)
        if batch and (len(batch) + 1) * longest * vocabulary > _MAX_LOGITS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _score(lm: LanguageModel, batch: list[_Window]) -> list[float]:
    """Return each window's sum over its scored tokens, in nats. Padding is at the end, so earlier tokens do not attend to it."""
    longest = len(batch[0].ids)
    ids = torch.full((len(batch), longest), lm.document_id, dtype=torch.long)
    for row, window in enumerate(batch):
        ids[row, : len(window.ids)] = torch.from_numpy(window.ids.astype("int64"))
    logits = lm.model(ids.to(lm.device), use_cache=False).logits
    sums = []
    for row, window in enumerate(batch):
        end = len(window.ids)
        predicted = logits[row, end - 1 - window.scored : end - 1].float()
        targets = ids[row, end - window.scored : end].to(lm.device)
        sums.append(cross_entropy(predicted, targets, reduction="none").double().sum().item())
    return sums


@dataclass(frozen=True)
class CopiedSpan:
    """Consecutive words of a generated text that also occur in a training text."""

    words: str
    """The words, without case and punctuation."""
    length: int
    """Number of words."""
    training_text: int
    """Index of the training text."""


@checked(words=(1, 10_000))
def copied_spans(text: str, corpus: Dataset | Sequence[str], words: int = 8) -> list[CopiedSpan]:
    """Return the longest spans of at least `words` words that `text` shares with a text of `corpus`, longest first.

    text    the generated text
    corpus  the training texts: a collection of strings, or a data set with a column `text`
    words   minimum number of words in a span

    Words are compared without case and surrounding punctuation. Only the n-grams of `text` are kept in memory, not those of the corpus.

    Raises InputError if `text` is not a string or `corpus` not a collection of strings.
    """
    generated = _words(check_text(text))
    ngrams: dict[tuple[str, ...], list[int]] = {}
    for start in range(len(generated) - words + 1):
        ngrams.setdefault(tuple(generated[start : start + words]), []).append(start)
    best: dict[int, tuple[int, int]] = {}  # start of a span in `text` -> (its length, index of the training text)
    for index, training_text in enumerate(check_texts(corpus, "corpus")):
        training = _words(training_text)
        for j in range(len(training) - words + 1):
            for i in ngrams.get(tuple(training[j : j + words]), ()):
                length = words
                while i + length < len(generated) and j + length < len(training) and generated[i + length] == training[j + length]:
                    length += 1
                if length > best.get(i, (0, 0))[0]:
                    best[i] = (length, index)
    spans, end = [], 0
    for start in sorted(best):
        length, index = best[start]
        if start + length > end:  # not contained in an earlier span
            spans.append(CopiedSpan(" ".join(generated[start : start + length]), length, index))
            end = start + length
    return sorted(spans, key=lambda span: -span.length)


def _words(text: str) -> list[str]:
    return [bare for word in text.casefold().split() if (bare := word.strip(".,;:!?\"'()[]-–—…"))]


def block_nll(lm: LanguageModel, packed: Packed, block: int) -> np.ndarray:
    """Return the loss at each position of a packed block for the token after it, in nats: float64 [block size], 0 at the last position.

    lm      the model
    packed  the blocks
    block   index of the block

    As in training, documents in the block do not attend to each other.
    """
    item = {name: row[None].to(lm.device) for name, row in packed[block].items()}
    labels = item.pop("labels")
    with evaluating(lm.model), torch.inference_mode():
        logits = lm.model(**item, use_cache=False).logits[0].double()
    targets = torch.nn.functional.pad(labels[0, 1:], (0, 1), value=IGNORED)
    return cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED).cpu().numpy()
