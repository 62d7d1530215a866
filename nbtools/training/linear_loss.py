"""The output layer and its cross-entropy in one, without ever holding all logits in fp32.

The library's way computes logits for every token, copies them to fp32, and keeps three tensors of that size: 206 MB each for
1,024 tokens of GPT-2. Here half of the tokens are worked on at a time, in chunks of the vocabulary that the matrix unit likes,
in the format of the passes; gradients are made in the place of the logits at once (the idea of Liger kernels, Hsu et al.,
2024, arXiv:2410.10989). What it costs: the forward pass does the backward's work, so it is for training only, and the gradient of
a tied output layer is the sum of two halves, added in the format of the passes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

CHUNK = 8_192  # most columns of the vocabulary at once: wider products run at four fifths of the speed, fresh memory included
IGNORED = -100  # the label that the loss leaves out


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    count: torch.Tensor | float | None = None,
    *,
    compiled: bool = False,
    gradient: SharedGradient | None = None,
) -> torch.Tensor:
    """Cross-entropy of `hidden @ weight.T` against `labels`, in nats: the sum over labelled tokens divided by `count`.

    hidden  [tokens, width] in the format of the passes; weight [vocabulary, width]; labels int64 [tokens], -100 is left out
    count   what the sum is divided by (None: the number of labelled tokens)
    compiled  whether the loops over logits are compiled, which needs a C++ compiler
    gradient  where the gradient of `weight` is laid for an embedding that shares it
    """
    if count is None:
        count = (labels != IGNORED).sum()
    return _LinearCrossEntropy.apply(hidden, weight, labels, torch.as_tensor(count, dtype=torch.float32), compiled, gradient)


class SharedGradient:
    """Hands the gradient of a tied matrix from the output layer to the embedding, which adds its few rows in place.

    Left to autograd, the embedding makes a second matrix of that size, mostly zeros, and a third pass adds the two.
    """

    tensor: torch.Tensor | None = None

    def take(self) -> torch.Tensor | None:
        tensor, self.tensor = self.tensor, None
        return tensor


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any, count: Any, compiled: bool, gradient: SharedGradient | None) -> Any:
        sums, scale_ = _loops(compiled)
        working = weight.to(hidden.dtype)  # the same tensor where the weights are kept in that format
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.empty_like(working) if ctx.needs_input_grad[1] else None  # None: the output layer is frozen
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        half = -(-len(hidden) // 2)
        for begin in range(0, len(hidden), half):
            rows = slice(begin, begin + half)
            loss += _half(hidden[rows], working, labels[rows], count, grad_hidden[rows], grad_weight, begin > 0, sums, scale_)
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        ctx.gradient = gradient
        return loss / count

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        (outer,) = outputs
        if outer != 1:  # a loss that was scaled, as several processes do
            grad_hidden, grad_weight = grad_hidden * outer, None if grad_weight is None else grad_weight * outer
        if ctx.gradient is not None:
            ctx.gradient.tensor = grad_weight
        return grad_hidden, grad_weight, None, None, None, None


def _half(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, count: torch.Tensor, grad_hidden: torch.Tensor,
    grad_weight: torch.Tensor | None, add: bool, sums: Callable[..., Any], scale_: Callable[..., Any],
) -> torch.Tensor:  # fmt: skip
    """The summed loss of some tokens; fills their rows of `grad_hidden` and fills, or adds to, `grad_weight`, if that is wanted."""
    edges = _edges(len(weight))
    chunks = [hidden.new_empty(len(hidden), end - begin) for begin, end in edges]
    parts = []
    wanted = torch.zeros(len(hidden), device=hidden.device)  # the logit of each token's label
    for chunk, (begin, end) in zip(chunks, edges, strict=True):
        torch.mm(hidden, weight[begin:end].t(), out=chunk)
        parts.append(sums(chunk))
        row = ((labels >= begin) & (labels < end)).nonzero()[:, 0]
        wanted[row] = chunk[row, labels[row] - begin].float()
    largest, sums_ = (torch.stack(part) for part in zip(*parts, strict=True))
    top = largest.amax(0)
    log_total = top + ((largest - top).exp() * sums_).sum(0).log()
    share = (labels != IGNORED).float() / count
    for number, (chunk, (begin, end)) in enumerate(zip(chunks, edges, strict=True)):
        row = ((labels >= begin) & (labels < end)).nonzero()[:, 0]
        scale_(chunk, log_total, share)
        # p - 1 from the unrounded p: rounded first, a label that is all but certain would get a gradient of noise.
        chunk[row, labels[row] - begin] = (((wanted[row] - log_total[row]).exp() - 1) * share[row]).to(chunk.dtype)
        if grad_weight is not None and add:
            grad_weight[begin:end].addmm_(chunk.t(), hidden)
        elif grad_weight is not None:
            torch.mm(chunk.t(), hidden, out=grad_weight[begin:end])
        if number:
            grad_hidden.addmm_(chunk, weight[begin:end])
        else:
            torch.mm(chunk, weight[begin:end], out=grad_hidden)
    return ((log_total - wanted) * (labels != IGNORED)).sum()


def _edges(vocabulary: int) -> list[tuple[int, int]]:
    """Chunks of nearly equal width, a multiple of 32."""
    number = -(-vocabulary // CHUNK)
    width = -(-vocabulary // (32 * number)) * 32
    return [(begin, min(begin + width, vocabulary)) for begin in range(0, vocabulary, width)]


def _sums(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's largest logit and its sum of exp(logit - largest)."""
    logits = logits.float()
    largest = logits.amax(-1)
    return largest, (logits - largest[:, None]).exp().sum(-1)


def _scale_(logits: torch.Tensor, log_total: torch.Tensor, share: torch.Tensor) -> None:
    """Put probability · share in the place of each logit."""
    logits.copy_((logits.float() - log_total[:, None]).exp() * share[:, None])


@functools.cache
def _loops(compiled: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (torch.compile(_sums, dynamic=True), torch.compile(_scale_, dynamic=True)) if compiled else (_sums, _scale_)


class _SharedEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Any, weight: Any, gradient: SharedGradient) -> Any:
        ctx.ids, ctx.gradient, ctx.shape, ctx.dtype = ids, gradient, weight.shape, weight.dtype
        return torch.nn.functional.embedding(ids, weight).float()

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        rows, place = ctx.ids.flatten().unique(return_inverse=True)
        # Summed in fp32 first: "the" stands in a block some dozens of times.
        summed = torch.zeros(len(rows), ctx.shape[1], device=rows.device).index_add_(0, place, outputs[0].reshape(-1, ctx.shape[1]).float())
        shared = ctx.gradient.take()
        if shared is not None:  # autograd adds it to the weight's gradient only after this node
            shared[rows] += summed.to(shared.dtype)
            return None, None, None
        full = torch.zeros(ctx.shape, dtype=ctx.dtype, device=rows.device)
        full[rows] = summed.to(ctx.dtype)
        return None, full, None


def shared_embedding(ids: torch.Tensor, weight: torch.Tensor, gradient: SharedGradient) -> torch.Tensor:
    """The rows `ids` of `weight`, in fp32; its gradient is added to what the output layer laid into `gradient`."""
    return _SharedEmbedding.apply(ids, weight, gradient)
