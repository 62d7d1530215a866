"""Causal attention over packed blocks for a CPU: plain matrix products, in which separating documents costs nothing extra.

PyTorch's fused attention computes in fp32 on a CPU: on a processor with bf16 matrix units it takes several times as long as the products
that it consists of. Here each block of queries is multiplied with the keys up to its own end only (a quarter to a half of the square is
never computed), the mask is part of a product, and dropout needs no other kernel. The probabilities are not kept for the backward pass but
computed again, as in FlashAttention (Dao et al., 2022, arXiv:2205.14135). The price: in bf16 the scores are rounded before the softmax,
and gradients differ from fp32 up to twice as much as under autocast with PyTorch's kernel (a test limits that); and for blocks of a few
thousand tokens a fused kernel is the better choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed_causal"  # for transformers' table of attention functions
QUERIES = 256  # per block: 128 and 512 take longer for 512 tokens, by 10 and by 5 %


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_ids: torch.Tensor | None = None,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(Q Kᵀ · scaling) V over each document's earlier tokens (Vaswani et al., 2017, equation 1).

    query         [batch, heads, tokens, width]
    key, value    the same with as many heads, or with a divisor of that (grouped keys)
    position_ids  [batch or 1, tokens]: 0 where a document begins, then one more per token; None: each row is one document
    returns       [batch, tokens, heads, width], and None instead of the weights

    The signature is the one that transformers expects of an attention function; `attention_mask` is ignored, because packed blocks have no
    padding.
    """
    batch, heads, tokens, width = query.shape
    scaling = width**-0.5 if scaling is None else scaling
    if (groups := heads // key.shape[1]) > 1:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    query, key, value = (tensor.to(value.dtype).reshape(batch * heads, tokens, width) for tensor in (query, key, value))
    index = torch.arange(tokens, device=query.device)
    begin = torch.zeros_like(index)[None] if position_ids is None else index - position_ids  # where each token's document begins
    with torch.autocast(query.device.type, enabled=False):  # it would take the softmax to fp32 and back
        mixed = _PackedAttention.apply(query, key, value, begin.expand(batch, tokens), scaling, dropout)
    return mixed.view(batch, heads, tokens, width).transpose(1, 2), None


class _PackedAttention(torch.autograd.Function):
    """query, key, value and the result: [batch · heads, tokens, width]; begin: [batch, tokens]."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, begin: Any, scaling: float, dropout: float) -> Any:
        outputs, kept = [], []
        for rows, seen in _blocks(query):
            weights = _weights(query, key, begin, scaling, rows, seen)
            if dropout:
                kept.append(torch.rand_like(weights) >= dropout)
                weights = weights * kept[-1] / (1 - dropout)
            outputs.append(torch.bmm(weights, value[:, seen]))
        ctx.save_for_backward(query, key, value, begin, *kept)
        ctx.scaling, ctx.dropout = scaling, dropout
        return torch.cat(outputs, dim=1)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        query, key, value, begin, *kept = ctx.saved_tensors
        (outer,) = outputs
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for number, (rows, seen) in enumerate(_blocks(query)):
            weights = _weights(query, key, begin, ctx.scaling, rows, seen)
            dropped, grad_weights = weights, torch.bmm(outer[:, rows], value[:, seen].transpose(1, 2))
            if ctx.dropout:
                dropped, grad_weights = (tensor * kept[number] / (1 - ctx.dropout) for tensor in (weights, grad_weights))
            grad_value[:, seen].baddbmm_(dropped.transpose(1, 2), outer[:, rows])
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_query[:, rows] = torch.bmm(grad_scores, key[:, seen]) * ctx.scaling
            grad_key[:, seen].baddbmm_(grad_scores.transpose(1, 2), query[:, rows], alpha=ctx.scaling)
        return grad_query, grad_key, grad_value, None, None, None


def _blocks(query: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """The queries of each block, and the keys that they attend to."""
    tokens = query.shape[1]
    for start in range(0, tokens, QUERIES):
        end = min(start + QUERIES, tokens)
        yield slice(start, end), slice(0, end)


def _weights(query: Any, key: Any, begin: Any, scaling: float, rows: slice, seen: slice) -> Any:
    """The probabilities of one block, [batch · heads, queries, keys], in the format of `query`."""
    index = torch.arange(seen.stop, device=query.device)
    hidden = (index < begin[:, rows, None]) | (index > index[rows, None])
    mask = torch.zeros(hidden.shape, dtype=query.dtype, device=query.device).masked_fill_(hidden, -torch.inf)
    mask = mask[:, None].expand(-1, len(query) // len(begin), -1, -1).flatten(0, 1)
    return torch.softmax(torch.baddbmm(mask, query[:, rows], key[:, seen].transpose(1, 2), alpha=scaling), dim=-1)


def register() -> str:
    """Register the function with transformers; returns its name for `attn_implementation`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    return NAME
