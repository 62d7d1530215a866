"""How well a model predicts texts it has not seen: token-exact negative log-likelihood, perplexity, bits per byte; and a
check for text that it copied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbtools.data import tokenize
from nbtools.errors import InputError
from nbtools.models import evaluating
from nbtools.system import progress
from nbtools.texts import check_text, check_texts
from nbtools.values import checked

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from nbtools.data import Packed, Tokens
    from nbtools.models import LanguageModel

WINDOW = 512  # tokens a review is scored in at once: one scheme for every model, whatever it was trained with
STRIDE = 256  # a longer review is scored in windows that overlap, so that every token sees at least this many before it
_LOGITS = 2**24  # most logits held at once (64 MiB in fp32)


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood of a set of texts.

    nll      sum over all scored tokens, in nats; a text's end-of-text token is scored with it
    tokens   number of scored tokens; bytes: length of the texts in UTF-8; reviews: number of texts
    per_review  float64 [reviews], each text's share of `nll`, in the order of the texts
    """

    nll: float
    tokens: int
    bytes: int
    reviews: int
    per_review: np.ndarray

    @property
    def perplexity(self) -> float:
        """exp(nll / tokens): depends on the tokenizer, so compare it only between models that share one."""
        return math.exp(self.nll / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """nll / (ln 2 * bytes): comparable between tokenizers."""
        return self.nll / math.log(2) / self.bytes

    def to_dict(self) -> dict[str, float | int]:
        return {
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "nll": self.nll,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "reviews": self.reviews,
        }

    def __repr__(self) -> str:
        size = f"{self.tokens:,} tokens of {self.reviews:,} reviews"
        return f"perplexity {self.perplexity:,.1f}, {self.bits_per_byte:.3f} bits per byte ({size})"


@dataclass(frozen=True)
class _Window:
    review: int
    ids: np.ndarray
    scored: int  # the last `scored` tokens count; those before are context


def evaluate(lm: LanguageModel, texts: Dataset | Sequence[str], label: str = "validation") -> Score:
    """Score every text alone, in fp32: begun by end-of-text, each of its tokens once, and the end-of-text after it.

    The scheme does not depend on how the model was trained: windows of 512 tokens (or the model's context, if shorter) that
    move by half of that; a token counts in the first window that reaches it. Sums and token counts, not means of batch means:
    those weigh short batches too much. A control token that a text spells out is scored as text.

    Raises InputError when there is nothing to score, and for anything but a collection of strings.
    """
    import numpy as np
    import torch

    texts = check_texts(texts)
    if not any(texts):
        raise InputError("There is no text to score.", "Give at least one text that is not empty.")
    windows = sorted(_windows(lm, tokenize(texts, lm, f"tokenizing {label}")), key=lambda window: -len(window.ids))
    per_review = np.zeros(len(texts))
    batches = list(_batches(windows, int(lm.model.config.vocab_size)))
    with evaluating(lm.model), torch.inference_mode():
        for batch in progress(batches, f"scoring {label}", unit="batch"):
            for window, nll in zip(batch, _score(lm, batch), strict=True):
                per_review[window.review] += nll
    tokens = sum(window.scored for window in windows)
    size = sum(len(text.encode("utf8")) for text in texts)
    return Score(float(per_review.sum()), tokens, size, len(texts), per_review)


def _windows(lm: LanguageModel, tokens: Tokens) -> Iterator[_Window]:
    import numpy as np

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


def _batches(windows: list[_Window], vocabulary: int) -> Iterator[list[_Window]]:
    """Windows of similar length together, so that little is computed for padding, and few enough for the logits' memory."""
    batch: list[_Window] = []
    for window in windows:
        longest = len(batch[0].ids) if batch else len(window.ids)
        if batch and (len(batch) + 1) * longest * vocabulary > _LOGITS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _score(lm: LanguageModel, batch: list[_Window]) -> list[float]:
    """Each window's sum over its scored tokens, in nats. Padding stands at the end, where causal attention cannot see it."""
    import torch
    from torch.nn.functional import cross_entropy

    longest = len(batch[0].ids)
    ids = torch.full((len(batch), longest), lm.document_id, dtype=torch.long)
    for row, window in enumerate(batch):
        ids[row, : len(window.ids)] = torch.from_numpy(window.ids.astype("int64"))
    logits = lm.model(ids.to(lm.device), use_cache=False).logits
    sums = []
    for row, window in enumerate(batch):
        end = len(window.ids)
        predicted = logits[row, end - 1 - window.scored : end - 1].float()
        wanted = ids[row, end - window.scored : end].to(lm.device)
        sums.append(cross_entropy(predicted, wanted, reduction="none").double().sum().item())
    return sums


@dataclass(frozen=True)
class CopiedSpan:
    """Words of a generated text that stand, in the same order, in a training text. `training_text` is its index."""

    words: str
    length: int
    training_text: int


@checked(words=(1, 10_000))
def copied_spans(text: str, corpus: Dataset | Sequence[str], words: int = 8) -> list[CopiedSpan]:
    """The longest runs of at least `words` words that `text` shares with a text of `corpus`, longest first.

    Words are compared without case and punctuation at their edges. Memory does not grow with the corpus: the n-grams of
    `text` are kept and the corpus is read past them. Raises InputError for a text that is no string, or a corpus that is no collection of
    strings.
    """
    mine = _words(check_text(text))
    grams: dict[tuple[str, ...], list[int]] = {}
    for at in range(len(mine) - words + 1):
        grams.setdefault(tuple(mine[at : at + words]), []).append(at)
    best: dict[int, tuple[int, int]] = {}  # where a run begins in `text` -> (its length, training text)
    for index, other in enumerate(check_texts(corpus, "corpus")):
        theirs = _words(other)
        for there in range(len(theirs) - words + 1):
            for here in grams.get(tuple(theirs[there : there + words]), ()):
                length = words
                while here + length < len(mine) and there + length < len(theirs) and mine[here + length] == theirs[there + length]:
                    length += 1
                if length > best.get(here, (0, 0))[0]:
                    best[here] = (length, index)
    spans, end = [], 0
    for here in sorted(best):
        length, index = best[here]
        if here + length > end:  # a run inside a longer one says nothing new
            spans.append(CopiedSpan(" ".join(mine[here : here + length]), length, index))
            end = here + length
    return sorted(spans, key=lambda span: -span.length)


def _words(text: str) -> list[str]:
    return [bare for word in text.casefold().split() if (bare := word.strip(".,;:!?\"'()[]-–—…"))]


def block_nll(lm: LanguageModel, packed: Packed, block: int) -> np.ndarray:
    """What each place of a block pays for the token after it, in nats: float64 [block size], 0 in the last place, which predicts nothing.

    As in training: documents apart, labels shifted once by the model.
    """
    import torch

    from nbtools.data.packing import IGNORED

    item = {name: row[None].to(lm.device) for name, row in packed[block].items()}
    labels = item.pop("labels")
    with evaluating(lm.model), torch.inference_mode():
        logits = lm.model(**item, use_cache=False).logits[0].double()
    wanted = torch.nn.functional.pad(labels[0, 1:], (0, 1), value=IGNORED)
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED).cpu().numpy()
