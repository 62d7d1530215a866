"""Attention as in the paper (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762), formula by formula.

Plain matrix products that store every score: slower than PyTorch's fused kernel and with more memory. The tests compare the two.
Arguments and results are torch tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nbtools.errors import InputError
from nbtools.values import checked


def softmax(scores: Tensor) -> Tensor:
    """Turn scores [..., n] into weights [..., n] that are positive and sum to 1 along the last axis.

    The largest score is subtracted first: this cancels in the fraction, and keeps exp() from overflowing.
    """
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def causal_mask(count: int) -> Tensor:
    """Boolean [count, count]: True where token i may attend to token j, that is where j <= i."""
    return torch.ones(count, count, dtype=torch.bool).tril()


def scaled_dot_product(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(d_k)) V, and the attention weights.

    Q     [..., tokens, d_k]
    K     [..., sources, d_k]
    V     [..., sources, d_v]
    mask  boolean [tokens, sources], True where attention is allowed; None: everywhere

    Returns output [..., tokens, d_v] and weights [..., tokens, sources].
    """
    scores = Q @ K.transpose(-2, -1) / Q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask.to(scores.device), float("-inf"))
    weights = softmax(scores)
    return weights @ V, weights


@checked()
def split_heads(X: Tensor, heads: int) -> Tensor:
    """Split the width into heads: [..., tokens, width] to [..., heads, tokens, width / heads].

    Raises InputError if the number of heads does not divide the width.
    """
    if heads < 1 or X.shape[-1] % heads:
        raise InputError(f"A width of {X.shape[-1]} cannot be split into {heads} heads.", "Choose a number that divides the width.")
    return X.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(X: Tensor) -> Tensor:
    """Concatenate the heads: [..., heads, tokens, d] to [..., tokens, heads * d]. The inverse of `split_heads`."""
    return X.transpose(-3, -2).flatten(-2)


@checked(heads=(1, 65_536))
def multi_head(
    X: Tensor, matrices: Sequence[Tensor], heads: int, *, biases: Sequence[Tensor] | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """concat(head_1 … head_h) W_O, and the attention weights of every head.

    X         [..., tokens, width]; positions must already be in it, as Q and K are not rotated
    matrices  W_Q, W_K, W_V, W_O, each [in, out] as in X @ W
    heads     number of query heads
    biases    in the same order as the matrices
    mask      as for `scaled_dot_product`

    W_K and W_V may have fewer heads than W_Q: then each key head serves a group of neighbouring query heads (Ainslie et al., 2023,
    https://arxiv.org/abs/2305.13245).

    Returns output [..., tokens, width] and weights [..., heads, tokens, tokens].
    """
    W_Q, W_K, W_V, W_O = matrices
    b_Q, b_K, b_V, b_O = biases if biases is not None else (0.0, 0.0, 0.0, 0.0)
    d_k = W_Q.shape[1] // heads
    Q = split_heads(X @ W_Q + b_Q, heads)
    K = _repeat_for_groups(split_heads(X @ W_K + b_K, W_K.shape[1] // d_k), heads)
    V = _repeat_for_groups(split_heads(X @ W_V + b_V, W_K.shape[1] // d_k), heads)
    output, weights = scaled_dot_product(Q, K, V, mask)
    return merge_heads(output) @ W_O + b_O, weights


def _repeat_for_groups(X: Tensor, heads: int) -> Tensor:
    """Repeat key heads so that each query head has one: [..., key heads, tokens, d] to [..., heads, tokens, d]."""
    if heads % X.shape[-3]:
        raise InputError(f"{heads} query heads cannot share {X.shape[-3]} key heads.", "Choose a number of key heads that divides it.")
    return X.repeat_interleave(heads // X.shape[-3], dim=-3)


@checked(count=(1, 1_000_000), width=(0, 65_536))
def sinusoidal_positions(count: int, width: int) -> Tensor:
    """The fixed position vectors of Vaswani et al. (2017, section 3.5), float32 [count, width].

    count  number of positions
    width  of the model; must be even

    Columns 2k and 2k+1 of row i are sin and cos of i / 10000^(2k/width). Angles are computed in float64, because float32 has too few digits
    for large i. Raises InputError for an odd width.
    """
    if width < 2 or width % 2:
        raise InputError(f"Sine and cosine come in pairs, so the width cannot be {width}.", "Choose an even width.")
    positions = torch.arange(count, dtype=torch.float64)[:, None]
    angles = positions / 10_000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference, divided by the largest absolute value of `theirs`. Raises InputError for different shapes."""
    if ours.shape != theirs.shape:
        raise InputError(f"The shapes differ: {tuple(ours.shape)} and {tuple(theirs.shape)}.", "Compare arrays of one shape.")
    return float((ours - theirs).abs().max() / theirs.abs().max())
