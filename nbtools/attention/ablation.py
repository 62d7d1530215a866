"""Head ablation: how a model's next-token probabilities change without some of its heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch

from nbtools.attention.reading import output_projections
from nbtools.attention.trace import check_text
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
    layers, size = lm.model.config.num_hidden_layers, lm.model.config.num_attention_heads
    for layer, head in (pair for heads in ablations for pair in heads):
        if not (0 <= layer < layers and 0 <= head < size):
            raise InputError(f"There is no head {head} in layer {layer}.", f"Layers are 0 to {layers - 1}, heads 0 to {size - 1}.")
    _, ids = check_text(lm, text)
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


@contextmanager
def _without(lm: LanguageModel, ablations: Sequence[Heads]) -> Iterator[None]:
    """Inside this context, row r of a batch is computed without the heads in ablations[r]."""
    keep = torch.ones(lm.model.config.num_hidden_layers, len(ablations), lm.model.config.num_attention_heads)
    for row, heads in enumerate(ablations):
        for layer, head in heads:
            keep[layer, row, head] = 0
    with ExitStack() as hooks:
        for projection, kept in zip(output_projections(lm), keep, strict=True):
            if not kept.all():
                hooks.enter_context(projection.register_forward_pre_hook(partial(_mask, kept)))
        yield


def _mask(keep: torch.Tensor, module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """A hook that multiplies the heads in a module's input [rows, tokens, heads · d] by `keep` [rows, heads]."""
    heads = inputs[0].unflatten(-1, (keep.shape[1], -1))
    return ((heads * keep.to(heads)[:, None, :, None]).flatten(-2),)
