"""What lies behind every weight: the queries, keys and values of one forward pass, and the sums that a single weight is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtools.attention.trace import AttentionTrace, attending, check_text, rollout
from nbtools.errors import InputError, ModelError
from nbtools.tokens import token_texts

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel

NAME = "course_reading"  # under which transformers finds the attention that is watched
# Where that attention puts what it is given. transformers has one table for all models, so two threads' passes are told apart here.
_kept: ContextVar[list[dict[str, Any]]] = ContextVar("course_reading")
MODES = ("raw", "without first", "value-weighted", "rollout")


@dataclass(frozen=True)
class Cell:
    """One weight as arithmetic: `weight` = exp(`score`) / `total`, and `score` = `product` · `scale` where the mask allows it.

    product   q · k, the dot product of the reading token's query and the read token's key; scale: 1 / √d_k for GPT-2 and Llama
    masked    whether the read token comes later: its score is then minus infinity and its weight 0
    total     the sum of exp(score) over all tokens that may be read; weight: the model's own
    """

    product: float
    scale: float
    score: float
    masked: bool
    total: float
    weight: float


@dataclass(frozen=True)
class Reading:
    """One forward pass over one text, with all that its attention was made of.

    trace   every head's weights; queries, keys, values  float32 [layers, heads, tokens, d], after any rotation by position; where heads
            share keys (Ainslie et al., 2023), each has its group's
    scales  [layers]: what q · k is multiplied with
    norms   float32 [layers, heads, tokens]: the length of what a token's value adds to the residual stream, ‖v W_O‖
    """

    trace: AttentionTrace
    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    scales: list[float]
    norms: np.ndarray

    def cell(self, layer: int, head: int, row: int, column: int) -> Cell:
        """How token `row` came to read token `column`. Raises InputError for a place that does not exist."""
        count = len(self.trace.ids)
        if not (0 <= layer < self.trace.layers and 0 <= head < self.trace.heads and 0 <= row < count and 0 <= column < count):
            raise InputError(f"There is no weight at layer {layer}, head {head}, row {row}, column {column}.", "All of these count from 0.")
        query, keys = self.queries[layer, head, row].astype(np.float64), self.keys[layer, head].astype(np.float64)
        products = keys @ query
        scale = self.scales[layer]
        total = float(np.exp(products[: row + 1] * scale).sum())
        product = float(products[column])
        masked = column > row
        weight = float(self.trace.weights[layer, head, row, column])
        return Cell(product, scale, -np.inf if masked else product * scale, masked, total, weight)

    def weights(self, layer: int, mode: str = "raw") -> np.ndarray:
        """The weights of one layer in a way of looking at them: float32 [heads, tokens, tokens], [1, tokens, tokens] for rollout.

        raw             as the model has them: rows sum to 1
        without first   the first token, on which heads rest that have nothing to do (Xiao et al., 2023, arXiv:2309.17453), left out and
                        the rest of each row brought to a sum of 1
        value-weighted  each weight times the length of what it carries, ‖v W_O‖, rows brought to a sum of 1 (after Kobayashi et al.,
                        2020, arXiv:2004.10102)
        rollout         attention multiplied through the layers up to this one, all heads together (`rollout`)
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
            raise InputError(f"There is no way of looking called {mode!r}.", f"There are: {', '.join(MODES)}.")
        sums = changed.sum(axis=-1, keepdims=True)
        return np.divide(changed, sums, out=np.zeros_like(changed), where=sums > 0)


def read_attention(lm: LanguageModel, text: str) -> Reading:
    """Run `lm` once over `text` and keep queries, keys, values and weights of every head.

    The library's layers call one function for attention; for this pass they call one that computes softmax(q kᵀ · scale) v as the
    library's eager code does, and keeps what it was given. Raises what `trace_attention` raises, and ModelError for a model that does
    not attend by that function, or whose output projection is not found.
    """
    import torch

    text = check_text(lm, text, arrays=2)
    ids, tokens = token_texts(lm.tokenizer, text)
    with _watched(lm.model) as kept, torch.inference_mode():
        lm.model(torch.tensor([ids], device=lm.device), use_cache=False)
    if len(kept) != lm.model.config.num_hidden_layers:
        raise ModelError(f"{lm.name} attends in a way that cannot be watched.", "GPT-2 and Llama-like models can.")
    trace = AttentionTrace(text, ids, tokens, _stack(kept, "weights"), lm.name)
    values = _stack(kept, "values")
    norms = np.stack([
        torch.linalg.vector_norm(torch.from_numpy(value) @ output, dim=-1).numpy()
        for value, output in zip(values, output_matrices(lm), strict=True)
    ])  # fmt: skip
    return Reading(trace, _stack(kept, "queries"), _stack(kept, "keys"), values, [one["scale"] for one in kept], norms)


def output_projections(lm: LanguageModel) -> list[Any]:
    """The layers' output projections, W_O, as modules. Raises ModelError for a family that is not known."""
    blocks = getattr(lm.model.base_model, "h", None) or getattr(lm.model.base_model, "layers", None) or []
    found = []
    for block in blocks:
        attention = getattr(block, "attn", None) or getattr(block, "self_attn", None)
        found.append(getattr(attention, "c_proj", None) or getattr(attention, "o_proj", None))
    if not found or any(one is None for one in found):
        raise ModelError(f"The output projections of {lm.name} were not found.", "GPT-2 and Llama-like models have them.")
    return found


def output_matrices(lm: LanguageModel) -> list[torch.Tensor]:
    """W_O of each layer, cut into heads: float32 [heads, d, width], so that a head's part of the output is value @ matrix."""
    import torch

    heads = lm.model.config.num_attention_heads
    matrices = []
    for layer in output_projections(lm):
        weight = layer.weight.detach().float().cpu()
        if isinstance(layer, torch.nn.Linear):
            weight = weight.T  # [out, in]; GPT-2's Conv1D has [in, out]
        matrices.append(weight.reshape(heads, -1, weight.shape[1]))
    return matrices


@contextmanager
def _watched(model: Any) -> Iterator[list[dict[str, Any]]]:
    """Within this context each layer's attention adds what it was given, and its weights, to the list."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    kept: list[dict[str, Any]] = []
    token = _kept.set(kept)
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    try:
        with attending(model, NAME):
            yield kept
    finally:
        _kept.reset(token)


def _attend(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **keywords: Any) -> Any:
    import torch

    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.transpose(-1, -2) * scale
    count = scores.shape[-1]
    later = torch.ones(count, count, dtype=torch.bool, device=scores.device).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    arrays = {"queries": query, "keys": key, "values": value, "weights": weights}
    _kept.get().append({name: part[0].float().cpu().numpy() for name, part in arrays.items()} | {"scale": float(scale)})
    return (weights @ value).transpose(1, 2), weights


def _stack(kept: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.stack([one[name] for one in kept])
