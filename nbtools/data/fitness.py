"""What a model will make of texts before it is trained on them: how many tokens, how much is cut, what looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nbtools.data.packing import texts_of, tokenize
from nbtools.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.models import LanguageModel

SAMPLE = 2_000  # texts that are looked at
FEW_BYTES = 2.5  # a token, where English reviews have 4 to 5: the tokenizer does not know this kind of text
HUGE = 50  # contexts: a text that is so long fills many blocks by itself


@dataclass(frozen=True)
class Fitness:
    """tokens: of all texts, by the sample's measure; bytes_per_token; over_context: share of texts longer than the model's context;
    warnings: lines of what is unusual, and what to do about it."""

    texts: int
    tokens: int
    bytes_per_token: float
    median: int
    longest: int
    over_context: float
    warnings: list[str]

    def __repr__(self) -> str:
        lines = [
            f"{self.texts:,} texts, about {self.tokens:,} tokens: {self.bytes_per_token:.1f} bytes each; "
            f"median {self.median:,} tokens a text, longest {self.longest:,}; {self.over_context:.0%} longer than the model's context"
        ]
        return "\n".join([*lines, *(f"  note: {warning}" for warning in self.warnings)])


def examine_texts(texts: Dataset | Sequence[str], lm: LanguageModel) -> Fitness:
    """How `lm`'s tokenizer sees the first SAMPLE of `texts`. Raises InputError where there are none."""
    every = texts_of(texts)
    if not every:
        raise InputError("There are no texts to look at.", "Give at least one.")
    sample = every[:SAMPLE]
    lengths = np.diff(tokenize(sample, lm).starts)
    size = sum(len(text.encode()) for text in sample)
    per_token = size / max(1, int(lengths.sum()))
    warnings = []
    if per_token < FEW_BYTES:
        warnings.append(
            f"{lm.name}'s tokenizer needs a token for every {per_token:.1f} bytes (English: 4 to 5): another language, or no prose? "
            "Training takes that much longer, and a model that read such text in pretraining would do better."
        )
    if (most := int(lengths.max())) > HUGE * lm.context:
        warnings.append(f"One text has {most:,} tokens. It fills {most // lm.context:,} contexts by itself: cut it at chapters if you can.")
    if np.median(lengths) < 8:
        warnings.append("Half of the texts are shorter than 8 tokens: is it the right column?")
    total = round(int(lengths.sum()) * len(every) / len(sample))
    return Fitness(
        len(every), total, per_token, int(np.median(lengths)), int(lengths.max()), float((lengths > lm.context).mean()), warnings
    )
