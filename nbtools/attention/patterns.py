"""Scores that identify heads by what they attend to: the previous token, the continuation of a repetition, the first token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nbtools.attention.trace import attending
from nbtools.errors import InputError
from nbtools.models import LanguageModel


@dataclass(frozen=True)
class HeadScores:
    """Mean attention weights of every head, each float64 [layers, heads] from 0 to 1."""

    previous: np.ndarray
    """To the previous token."""
    induction: np.ndarray
    """In a random sequence that is repeated: to the token that followed the current one the first time."""
    first: np.ndarray
    """To the first token."""


def score_heads(lm: LanguageModel, *, length: int = 24, rows: int = 4, seed: int = 0) -> HeadScores:
    """Score every head on random tokens that are repeated once (Olsson et al., 2022, arXiv:2209.11895).

    lm      the model
    length  tokens of the random sequence
    rows    number of sequences
    seed    of the random tokens

    Random tokens offer nothing to attend to but the repetition. Only the second half is scored, because only there an induction head has
    something to find. Raises InputError if two sequences do not fit the model's context.
    """
    if not 2 <= length <= lm.context // 2:
        raise InputError(f"Twice {length} tokens do not fit: {lm.name} reads {lm.context}.", f"Choose 2 to {lm.context // 2}.")
    draws = torch.rand(rows, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()
    once = 1 + (draws * (lm.model.config.vocab_size - 1)).astype(np.int64)
    ids = torch.from_numpy(np.concatenate([once, once], axis=1)).to(lm.device)
    with attending(lm.model), torch.inference_mode():
        attentions = lm.model(ids, output_attentions=True, use_cache=False).attentions
    weights = torch.stack([layer.float().cpu() for layer in attentions]).double().numpy()  # [layers, rows, heads, tokens, tokens]
    queries = np.arange(length, 2 * length)

    def mean(keys: np.ndarray) -> np.ndarray:
        return weights[:, :, :, queries, keys].mean(axis=(1, 3))

    return HeadScores(mean(queries - 1), mean(queries - length + 1), mean(np.zeros_like(queries)))
