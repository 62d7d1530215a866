"""Check texts before training on them: number of tokens, texts longer than the context, and anything unusual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nbtools.data.packing import tokenize
from nbtools.errors import InputError
from nbtools.texts import check_texts

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.models import LanguageModel

SAMPLE = 2_000  # number of texts examined
MIN_BYTES_PER_TOKEN = 2.5  # English reviews have 4 to 5; fewer means that the tokenizer was not trained on this kind of text
MAX_CONTEXTS = 50  # a text longer than this many contexts gets a warning, because it fills many blocks by itself


@dataclass(frozen=True)
class Fitness:
    """What a model's tokenizer makes of a set of texts."""

    texts: int
    """Number of texts."""
    tokens: int
    """Number of tokens in all texts, estimated from the sample."""
    bytes_per_token: float
    """UTF-8 bytes per token."""
    median: int
    """Median length of a text, in tokens."""
    longest: int
    """Length of the longest text, in tokens."""
    over_context: float
    """Fraction of texts longer than the model's context."""
    warnings: list[str]
    """One line for each unusual property, with advice."""

    def __repr__(self) -> str:
        size = f"{self.texts:,} texts, about {self.tokens:,} tokens: {self.bytes_per_token:.1f} bytes each"
        lengths = (
            f"median {self.median:,} tokens per text, longest {self.longest:,}; {self.over_context:.0%} longer than the model's context"
        )
        return "\n".join([f"{size}; {lengths}", *(f"  note: {warning}" for warning in self.warnings)])


def examine_texts(texts: Dataset | Sequence[str], lm: LanguageModel) -> Fitness:
    """Measure the first 2,000 of `texts` with the tokenizer of `lm`.

    Raises InputError if `texts` is empty or not a collection of strings.
    """
    all_texts = check_texts(texts)
    if not all_texts:
        raise InputError("There are no texts to look at.", "Give at least one.")
    sample = all_texts[:SAMPLE]
    lengths = np.diff(tokenize(sample, lm).starts)
    tokens, median, longest = int(lengths.sum()), int(np.median(lengths)), int(lengths.max())
    per_token = sum(len(text.encode()) for text in sample) / max(1, tokens)
    warnings = []
    if per_token < MIN_BYTES_PER_TOKEN:
        warnings.append(
            f"{lm.name}'s tokenizer needs one token per {per_token:.1f} bytes (English: 4 to 5). The text may be in another language, or "
            "not prose. Training takes longer, and a model pretrained on such text would do better."
        )
    if longest > MAX_CONTEXTS * lm.context:
        contexts = longest // lm.context
        warnings.append(f"One text has {longest:,} tokens. It fills {contexts:,} contexts by itself: split it into chapters if you can.")
    if median < 8:
        warnings.append("Half of the texts are shorter than 8 tokens: is it the right column?")
    total = round(tokens * len(all_texts) / len(sample))
    return Fitness(len(all_texts), total, per_token, median, longest, float((lengths > lm.context).mean()), warnings)
