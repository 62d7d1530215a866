"""Head ablation: how a model's next-token probabilities change without some of its heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from nbtools.attention.reading import output_projections
from nbtools.attention.trace import token_ids
from nbtools.errors import InputError
from nbtools.models import LanguageModel, evaluating, exclusively
from nbtools.system import progress

BATCH_TOKENS = 4_096
"""Most tokens in one batch, whose rows are the same text with different heads ablated."""

Heads = Sequence[tuple[int, int]]
"""Pairs of layer and head, both from 0."""


@exclusively
def ablate_heads(lm: LanguageModel, text: str, ablations: Sequence[Heads], words: Sequence[int]) -> np.ndarray:
    """The log-probabilities of `words` as next tokens after `text`, once per set of ablated heads.

    lm         the model
    text       the input
    ablations  sets of heads; an empty set changes nothing
    words      token ids

    Zero ablation: a head's part of the output projection's input, the last place where heads are separate, is set to zero.

    Returns float64 [len(ablations), len(words)], in nats. Raises InputError for a head that does not exist.
    """
    _check_heads(lm, ablations)
    ids = token_ids(lm, text)
    rows = max(1, BATCH_TOKENS // len(ids))
    found = []
    for begin in progress(range(0, len(ablations), rows), "ablating heads", unit="batch"):
        batch = ablations[begin : begin + rows]
        with _without(lm, batch), evaluating(lm.model), torch.inference_mode():
            logits = lm.model(torch.tensor([ids] * len(batch), device=lm.device), use_cache=False, logits_to_keep=1).logits[:, -1]
        found.append(logits.double().log_softmax(-1)[:, list(words)].cpu().numpy())
    return np.concatenate(found)


def ablate_each_head(lm: LanguageModel, text: str, words: Sequence[int]) -> np.ndarray:
    """Return the change in log-probability of `words` with each head ablated in turn: float64 [layers, heads, words], in nats."""
    config = lm.model.config
    shape = (config.num_hidden_layers, config.num_attention_heads)
    single: list[Heads] = [[(layer, head)] for layer in range(shape[0]) for head in range(shape[1])]
    found = ablate_heads(lm, text, [[], *single], words)
    return (found[1:] - found[0]).reshape(*shape, len(words))


def _check_heads(lm: LanguageModel, ablations: Sequence[Heads]) -> None:
    layers, size = lm.model.config.num_hidden_layers, lm.model.config.num_attention_heads
    for layer, head in (pair for heads in ablations for pair in heads):
        if not (0 <= layer < layers and 0 <= head < size):
            raise InputError(f"There is no head {head} in layer {layer}.", f"Layers are 0 to {layers - 1}, heads 0 to {size - 1}.")


@contextmanager
def _without(lm: LanguageModel, ablations: Sequence[Heads]) -> Iterator[None]:
    """Inside this context, row r of a batch is computed without the heads in ablations[r]."""
    hooks = []
    for layer, projection in enumerate(output_projections(lm)):
        keep = _kept_heads(ablations, layer, lm.model.config.num_attention_heads)
        if not bool(keep.all()):
            hooks.append(projection.register_forward_pre_hook(_mask_of(keep)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _kept_heads(ablations: Sequence[Heads], layer: int, heads: int) -> torch.Tensor:
    """1 for each head of `layer` that is kept in a row, 0 for each that is ablated: [rows, heads]."""
    keep = torch.ones(len(ablations), heads)
    for row, pairs in enumerate(ablations):
        for other, head in pairs:
            if other == layer:
                keep[row, head] = 0
    return keep


def _mask_of(keep: torch.Tensor) -> Any:
    """A hook that multiplies the heads in a module's input [rows, tokens, heads · d] by `keep` [rows, heads]."""

    def mask(module: Any, inputs: Any) -> Any:
        (mixed,) = inputs
        heads = mixed.unflatten(-1, (keep.shape[1], -1))
        return ((heads * keep.to(mixed)[:, None, :, None]).flatten(-2),)

    return mask
