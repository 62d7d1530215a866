"""Queries, keys and values of one forward pass, and single attention weights as arithmetic."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nbtools.attention.formulas import causal_mask
from nbtools.attention.trace import AttentionTrace, attending, check_text, rollout
from nbtools.errors import InputError, ModelError
from nbtools.models import LanguageModel
from nbtools.tokens import token_texts

NAME = "course_reading"
"""The name under which the recording attention function is registered with transformers."""
# What the recording function records. transformers has one table of functions for all models, so a context variable separates threads.
_records: ContextVar[list[dict[str, Any]]] = ContextVar("course_reading")
MODES = ("raw", "without first", "value-weighted", "rollout")


@dataclass(frozen=True)
class Cell:
    """One weight as arithmetic: `weight` = exp(`score`) / `total`, and `score` = `product` · `scale` unless masked."""

    product: float
    """q · k, the dot product of the query and the key."""
    scale: float
    """1 / √d_k for GPT-2 and Llama."""
    score: float
    """Minus infinity if masked."""
    masked: bool
    """Whether the key's token comes after the query's token; the weight is then 0."""
    total: float
    """The sum of exp(score) over all tokens that the query may attend to."""
    weight: float
    """The model's own."""


@dataclass(frozen=True)
class Reading:
    """The attention of one forward pass over one text.

    Queries, keys and values are float32 [layers, heads, tokens, d], after any rotation by position. Where heads share keys and values
    (Ainslie et al., 2023), each head has those of its group.
    """

    trace: AttentionTrace
    """The weights of every head."""
    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    scales: list[float]
    """[layers]: what q · k is multiplied by."""
    norms: np.ndarray
    """float32 [layers, heads, tokens]: the norm of what a token's value adds to the residual stream, ‖v W_O‖."""

    def cell(self, layer: int, head: int, row: int, column: int) -> Cell:
        """Return the weight of token `column` for token `row`, step by step. Raises InputError for an invalid index."""
        count = len(self.trace.ids)
        if not (0 <= layer < self.trace.layers and 0 <= head < self.trace.heads and 0 <= row < count and 0 <= column < count):
            raise InputError(f"There is no weight at layer {layer}, head {head}, row {row}, column {column}.", "All of these count from 0.")
        products = self.keys[layer, head].astype(np.float64) @ self.queries[layer, head, row].astype(np.float64)
        scale, product, masked = self.scales[layer], float(products[column]), column > row
        total = float(np.exp(products[: row + 1] * scale).sum())
        weight = float(self.trace.weights[layer, head, row, column])
        return Cell(product, scale, -np.inf if masked else product * scale, masked, total, weight)

    def weights(self, layer: int, mode: str = "raw") -> np.ndarray:
        """Return the weights of one layer in one of four modes: float32 [heads, tokens, tokens], or [1, tokens, tokens] for rollout.

        raw             the model's own weights; rows sum to 1
        without first   without the first token, which heads attend to when there is nothing to attend to (Xiao et al., 2023,
                        arXiv:2309.17453); rows are normalized to sum to 1
        value-weighted  each weight times ‖v W_O‖, the norm of what it adds; rows are normalized to sum to 1 (after Kobayashi et al., 2020,
                        arXiv:2004.10102)
        rollout         attention multiplied through the layers up to this one, for all heads together (`rollout`)

        Raises InputError for an unknown mode.
        """
        raw = self.trace.weights[layer]
        if mode == "raw":
            return raw
        if mode == "rollout":
            return rollout(self.trace)[layer][None]
        if mode == "without first":
            changed = raw.copy()
            changed[:, :, 0] = 0
        elif mode == "value-weighted":
            changed = raw * self.norms[layer][:, None, :]
        else:
            raise InputError(f"There is no mode called {mode!r}.", f"The modes are: {', '.join(MODES)}.")
        sums = changed.sum(axis=-1, keepdims=True)
        return np.divide(changed, sums, out=np.zeros_like(changed), where=sums > 0)


def read_attention(lm: LanguageModel, text: str) -> Reading:
    """Run `lm` once over `text` and record queries, keys, values and weights of every head.

    The layers of transformers' models call one function for attention. For this pass it is replaced by one that computes
    softmax(q kᵀ · scale) v, as the library's eager code does, and records its inputs. Raises what `trace_attention` raises, and ModelError
    for a model that does not call that function, or whose output projection is not found.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    text, ids = check_text(lm, text, arrays=2)
    _, tokens = token_texts(lm.tokenizer, text)
    records: list[dict[str, Any]] = []
    token = _records.set(records)
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    try:
        with attending(lm.model, NAME), torch.inference_mode():
            lm.model(torch.tensor([ids], device=lm.device), use_cache=False)
    finally:
        _records.reset(token)
    if len(records) != lm.model.config.num_hidden_layers:
        raise ModelError(f"{lm.name} computes attention in a way that cannot be recorded.", "GPT-2 and Llama-like models can.")
    queries, keys, values, weights, scales = (np.stack([record[name] for record in records]) for name in records[0])
    outputs = zip(values, output_matrices(lm), strict=True)
    norms = np.stack([torch.linalg.vector_norm(torch.from_numpy(value) @ matrix, dim=-1).numpy() for value, matrix in outputs])
    return Reading(AttentionTrace(text, ids, tokens, weights, lm.name), queries, keys, values, scales.tolist(), norms)


def output_projections(lm: LanguageModel) -> list[Any]:
    """The output projection W_O of each layer, as a module. Raises ModelError for an unknown model family."""
    blocks = getattr(lm.model.base_model, "h", None) or getattr(lm.model.base_model, "layers", None) or []
    found = []
    for block in blocks:
        attention = getattr(block, "attn", None) or getattr(block, "self_attn", None)
        found.append(getattr(attention, "c_proj", None) or getattr(attention, "o_proj", None))
    if not found or any(projection is None for projection in found):
        raise ModelError(f"The output projections of {lm.name} were not found.", "GPT-2 and Llama-like models have them.")
    return found


def output_matrices(lm: LanguageModel) -> list[torch.Tensor]:
    """W_O of each layer, split into heads: float32 [heads, d, width], so that a head's part of the output is value @ matrix."""
    heads = lm.model.config.num_attention_heads
    matrices = []
    for layer in output_projections(lm):
        weight = layer.weight.detach().float().cpu()
        if isinstance(layer, torch.nn.Linear):
            weight = weight.T  # [out, in]; GPT-2's Conv1D has [in, out]
        matrices.append(weight.reshape(heads, -1, weight.shape[1]))
    return matrices


def _attend(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **keywords: Any) -> Any:
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.transpose(-1, -2) * scale
    allowed = causal_mask(scores.shape[-1]).to(scores.device)
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    arrays = {"queries": query, "keys": key, "values": value, "weights": weights}
    _records.get().append({name: array[0].float().cpu().numpy() for name, array in arrays.items()} | {"scale": float(scale)})
    return (weights @ value).transpose(1, 2), weights
