"""The output layer fused with its cross-entropy, which never holds all logits in fp32.

The library computes logits for every token, copies them to fp32, and keeps three tensors of that size: 206 MB each for 1,024 tokens of
GPT-2. Here some of the tokens are processed at a time, in chunks of the vocabulary and in the format of the hidden states; gradients
overwrite the logits at once (as in Liger kernels, Hsu et al., 2024, arXiv:2410.10989). The price: the forward pass does the work of the
backward pass, so it is for training only, and the gradient of a tied output layer is a sum of parts, added in that format.
"""

from __future__ import annotations

from typing import Any

import torch

from nbtools.accel import kernels
from nbtools.system import onednn_product

CHUNK = 8_192  # columns of the vocabulary at a time, at most: wider products run at four fifths of the speed, with their fresh memory
LOGITS = 2**27  # bytes of them that are held at a time, at most
IGNORED = -100  # the label that the loss ignores


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    count: torch.Tensor | float | None = None,
    *,
    onednn: bool = False,
    gradient: SharedGradient | None = None,
) -> torch.Tensor:
    """Cross-entropy of `hidden @ weight.T` against `labels`, in nats: the sum over labelled tokens divided by `count`.

    hidden    [tokens, width]
    weight    [vocabulary, width]
    labels    int64 [tokens]; -100 is ignored
    count     the divisor (None: the number of labelled tokens)
    onednn    whether oneDNN multiplies; else PyTorch chooses
    gradient  receives the gradient of `weight`, for an embedding that shares it
    """
    if count is None:
        count = (labels != IGNORED).sum()
    return _LinearCrossEntropy.apply(hidden, weight, labels, torch.as_tensor(count, dtype=torch.float32), onednn, gradient)


class SharedGradient:
    """Passes the gradient of a tied matrix from the output layer to the embedding, which adds its few rows in place.

    With autograd alone, the embedding makes a second matrix of that size, mostly zeros, and another pass adds the two.
    """

    tensor: torch.Tensor | None = None


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any, count: Any, onednn: bool, gradient: SharedGradient | None) -> Any:
        working = weight.to(hidden.dtype)  # the same tensor where the weights are kept in that format
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.empty_like(working) if ctx.needs_input_grad[1] else None  # None: the output layer is frozen
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        pieces = -(-len(hidden) * len(weight) * hidden.element_size() // LOGITS)
        length = -(-len(hidden) // pieces)
        for begin in range(0, len(hidden), length):
            rows = slice(begin, begin + length)
            logits = _Logits(hidden[rows], working, labels[rows], onednn)
            loss += logits.losses().sum()
            logits.write_gradients(count, grad_hidden[rows], grad_weight, add=begin > 0)
            del logits  # frees them before the next ones are computed
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


def token_losses(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, *, onednn: bool = False) -> torch.Tensor:
    """The cross-entropy of each token, in nats: float32 [tokens], with the arguments of `linear_cross_entropy`; without gradients."""
    rows = max(1, LOGITS // (2 * len(weight) * hidden.element_size()))
    parts = zip(hidden.split(rows), labels.split(rows), strict=True)
    return torch.cat([_Logits(part, weight, of_part, onednn).losses() for part, of_part in parts])


class _Logits:
    """The logits of some tokens in chunks of the vocabulary, which `write_gradients` overwrites."""

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, onednn: bool) -> None:
        self.hidden, self.labelled = hidden, labels != IGNORED
        self.onednn = onednn
        sums = kernels.logit_sums if kernels.code() is not None else _sums
        self.of_label = torch.zeros(len(hidden), device=hidden.device)  # the logit of each token's label
        self.chunks = []  # of the vocabulary: logits, weights, and for the labels in it their rows and columns
        parts = []
        for begin, end in _edges(len(weight)):
            logits = onednn_product(hidden, weight[begin:end]) if onednn else torch.mm(hidden, weight[begin:end].t())
            parts.append(sums(logits))
            rows = ((labels >= begin) & (labels < end)).nonzero()[:, 0]
            columns = labels[rows] - begin
            self.of_label[rows] = logits[rows, columns].float()
            self.chunks.append((slice(begin, end), logits, weight[begin:end], rows, columns))
        largest, totals = (torch.stack(values) for values in zip(*parts, strict=True))
        top = largest.amax(0)
        self.log_total = top + ((largest - top).exp() * totals).sum(0).log()

    def losses(self) -> torch.Tensor:
        """The loss of each token, in nats; 0 where it is not labelled."""
        return (self.log_total - self.of_label) * self.labelled

    def write_gradients(self, count: torch.Tensor, grad_hidden: torch.Tensor, grad_weight: torch.Tensor | None, add: bool) -> None:
        """Fill `grad_hidden`, and fill or add to `grad_weight` unless it is None, with the gradients of the loss divided by `count`."""
        factor = self.labelled.float() / count
        scale_ = kernels.logit_scale_ if kernels.code() is not None else _scale_
        for number, (chunk, logits, weight, rows, columns) in enumerate(self.chunks):
            scale_(logits, self.log_total, factor)
            # p - 1 from the unrounded p: rounded first, a label that is almost certain would get a gradient of noise.
            error = (self.of_label[rows] - self.log_total[rows]).exp() - 1
            logits[rows, columns] = (error * factor[rows]).to(logits.dtype)
            if grad_weight is not None:
                self._multiply(grad_weight[chunk], logits.t(), self.hidden, add)
            self._multiply(grad_hidden, logits, weight, number > 0)

    def _multiply(self, out: torch.Tensor, left: torch.Tensor, right: torch.Tensor, add: bool) -> None:
        """out = or += left @ right"""
        if not self.onednn:
            out.addmm_(left, right, beta=int(add))  # with beta=0 earlier content is ignored, even NaN
        elif add:
            out += onednn_product(left, right.t())
        else:
            out.copy_(onednn_product(left, right.t()))


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


def _scale_(logits: torch.Tensor, log_total: torch.Tensor, factor: torch.Tensor) -> None:
    """Replace each logit by its probability · factor."""
    logits.copy_((logits.float() - log_total[:, None]).exp() * factor[:, None])


class _SharedEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Any, weight: Any, gradient: SharedGradient) -> Any:
        ctx.ids, ctx.gradient = ids, gradient
        return torch.nn.functional.embedding(ids, weight).float()

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        rows, index = ctx.ids.flatten().unique(return_inverse=True)
        outer = outputs[0].flatten(0, -2).float()
        # Summed in fp32 first: a frequent token occurs dozens of times in a block.
        summed = torch.zeros(len(rows), outer.shape[1], device=rows.device).index_add_(0, index, outer)
        # The output layer's backward pass came first, and autograd adds its gradient to the weight's only after this node.
        shared, ctx.gradient.tensor = ctx.gradient.tensor, None
        shared[rows] += summed.to(shared.dtype)
        return None, None, None


def shared_embedding(ids: torch.Tensor, weight: torch.Tensor, gradient: SharedGradient) -> torch.Tensor:
    """The rows `ids` of `weight`, in fp32; their gradient is added to the one that the output layer left in `gradient`."""
    return _SharedEmbedding.apply(ids, weight, gradient)
