"""Causal attention over packed blocks for a processor: plain matrix products, so that documents stay apart at no extra cost.

PyTorch's fused attention for the CPU computes in fp32 inside: on a processor with bf16 matrix units it takes several times as
long as the products it is made of. Here each block of queries meets the keys up to its own end and no later ones (an eighth
to a half of the square is never computed), the mask is part of the softmax's own loop once compiled, and dropout costs no fast
kernel. What it costs: the probabilities are kept, or computed again, for the backward pass, so memory grows with the
square of the block's length; for blocks of a thousand tokens and more a fused kernel is the better choice.
"""

from __future__ import annotations

from typing import Any

import torch

NAME = "packed_causal"  # under which transformers finds it
QUERIES = 128  # a block of queries; 64 to 256 are within 2 % of each other


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

    query         [batch, heads, tokens, width]; key, value: the same with as many heads, or with a divisor of it (grouped keys)
    position_ids  [batch or 1, tokens]: 0 where a document begins, then one more a token; None: the whole row is one document
    returns       [batch, tokens, heads, width], and None in the place of the weights

    The signature is the one that transformers asks of an attention function; `attention_mask` is not looked at, because packed
    blocks have no padding.
    """
    batch, heads, tokens, width = query.shape
    scaling = width**-0.5 if scaling is None else scaling
    if (groups := heads // key.shape[1]) > 1:
        key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    query, key, value = (part.reshape(batch * heads, tokens, width) for part in (query, key, value))
    place = torch.arange(tokens, device=query.device)
    begin = torch.zeros_like(place)[None] if position_ids is None else place - position_ids  # where each token's document begins
    outputs = []
    for start in range(0, tokens, QUERIES):
        end = min(start + QUERIES, tokens)
        scores = torch.bmm(query[:, start:end], key[:, :end].transpose(1, 2)).view(batch, heads, end - start, end)
        seen = (place[:end] >= begin[:, None, start:end, None]) & (place[:end] <= place[start:end, None])
        weights = torch.softmax(torch.where(seen, scores.float() * scaling, -torch.inf), dim=-1).to(value.dtype)
        if dropout:
            weights = torch.nn.functional.dropout(weights, dropout)
        outputs.append(torch.bmm(weights.view(batch * heads, end - start, end), value[:, :end]))
    return torch.cat(outputs, dim=1).view(batch, heads, tokens, width).transpose(1, 2), None


def register() -> str:
    """Tell transformers about it; returns the name for `attn_implementation`."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    return NAME
