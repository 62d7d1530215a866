"""Heads known by what they do: those that read the token before, and those that continue a repetition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nbtools.attention.trace import attending
from nbtools.errors import InputError

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

LENGTH = 24  # of the random sequence that is repeated
ROWS = 4


@dataclass(frozen=True)
class HeadScores:
    """float64 [layers, heads], each from 0 to 1.

    previous   how much of its attention a head gives to the token just before, on average
    induction  in a random sequence that is repeated: how much it gives to the token that followed this one the first time
    first      how much it gives to the first token
    """

    previous: np.ndarray
    induction: np.ndarray
    first: np.ndarray


def score_heads(lm: LanguageModel, *, length: int = LENGTH, rows: int = ROWS, seed: int = 0) -> HeadScores:
    """Score every head on random tokens repeated once, by the scores of Olsson et al. (2022, arXiv:2209.11895).

    On random tokens nothing but the repetition can be used. Second half only, where an induction head has something to find.
    Raises InputError when two sequences do not fit the model's context.
    """
    import torch

    if not 2 <= length <= lm.context // 2:
        raise InputError(f"Twice {length} tokens do not fit: {lm.name} reads {lm.context}.", f"Choose 2 to {lm.context // 2}.")
    draws = np.random.default_rng(seed)
    once = draws.integers(1, lm.model.config.vocab_size, (rows, length))
    ids = torch.from_numpy(np.concatenate([once, once], axis=1)).to(lm.device)
    with attending(lm.model), torch.inference_mode():
        given = lm.model(ids, output_attentions=True, use_cache=False).attentions
    weights = torch.stack([layer.float().cpu() for layer in given]).double().numpy()  # [layers, rows, heads, tokens, tokens]
    reading = np.arange(length, 2 * length)

    def mean(read: np.ndarray) -> np.ndarray:
        return weights[:, :, :, reading, read].mean(axis=(1, 3))

    return HeadScores(mean(reading - 1), mean(reading - length + 1), mean(np.zeros_like(reading)))
