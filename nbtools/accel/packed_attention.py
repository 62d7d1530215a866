"""Causal attention over packed blocks for a CPU, one document at a time: no product is computed for pairs of tokens that are masked.

transformers separates the documents of a block by a mask, so a block of 512 tokens with reviews of 200 costs three times the products that
count. Here each document is attended to by itself, in C++ (`training.cpp`), which also leaves out the upper triangle; where that is not
available, or with dropout, by PyTorch's own function.
"""

from __future__ import annotations

from typing import Any

import torch

from nbtools.accel import kernels

NAME = "packed_causal"  # for transformers' table of attention functions


@torch.compiler.disable
def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    documents: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(Q Kᵀ · scaling) V over each document's earlier tokens (Vaswani et al., 2017, equation 1).

    query       [batch, heads, tokens, width]
    key, value  the same with as many heads, or with a divisor of that (grouped keys)
    documents   int32 [documents, 3]: row of the batch, first token and end of each (`find_documents`); None: each row is one
    returns     [batch, tokens, heads, width], and None instead of the weights

    The signature is the one that transformers expects of an attention function; `attention_mask` is ignored: packed blocks have no
    padding, and no token attends to padding on the right.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)
    if documents is None:
        documents = torch.tensor([[row, 0, query.shape[2]] for row in range(len(query))], dtype=torch.int32)
    if kernels.code() is not None and not dropout:
        return kernels.Attention.apply(query, key, value, documents, scaling).transpose(1, 2), None
    out = torch.empty_like(query)
    grouped = key.shape[1] < query.shape[1]
    for row, begin, end in documents.tolist():
        q, k, v = (tensor[row : row + 1, :, begin:end] for tensor in (query, key, value))
        out[row : row + 1, :, begin:end] = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
    return out.transpose(1, 2), None


def find_documents(position_ids: torch.Tensor) -> torch.Tensor:
    """Row, first token and end of each document, the longest first: int32 [documents, 3].

    position_ids  [rows, tokens]; a document begins at the beginning of a row and where a position is 0
    """
    begins = position_ids == 0
    begins[:, 0] = True
    rows, starts = begins.nonzero(as_tuple=True)
    ends = torch.full_like(starts, position_ids.shape[1])
    ends[:-1] = torch.where(rows[1:] == rows[:-1], starts[1:], ends[:-1])
    found = torch.stack([rows, starts, ends], 1)
    return found[(starts - ends).argsort(stable=True)].to(torch.int32).contiguous()


def register() -> str:
    """Register the function with transformers; returns its name for `attn_implementation`."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    return NAME
