"""A lean forward pass for decoding GPT-2 and Llama models on a CPU: no padding, no module tree, one cache allocated beforehand."""

from __future__ import annotations

import functools
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbtools.generation import kernel
from nbtools.generation.weights import Norm, Projection, Weights, read, refusal
from nbtools.models import exclusive
from nbtools.runtime import available_memory

if TYPE_CHECKING:
    import torch

# Where transformers in bf16 finds its best logit further above the second than this share of the logit that is largest in magnitude, the
# choice in bf16 here is the same. bf16 keeps 8 bits; transformers rounds every activation and the logits themselves to them, in an order
# of its own, where the kernel sums in fp32. Eight units in the last place of that logit, whose size the rounding goes with: the widest gap
# with another choice was five of them, in texts read with mini, smollm2 and a random GPT-2.
BF16_GAP = 2**-5


@dataclass
class Cache:
    """Keys and values of the tokens read so far. Memory that no token has reached is reserved, not taken.

    tensor   [layers, 2, rows, groups, capacity, head size]
    lengths  the number of tokens that each row holds
    """

    tensor: torch.Tensor
    lengths: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, weights: Weights, rows: int, capacity: int) -> Cache:
        import torch

        shape = (len(weights.layers), 2, rows, weights.groups, capacity, weights.size)
        return cls(torch.empty(shape, dtype=weights.dtype), [0] * rows)

    def copy(self, source: int, target: int) -> None:
        """Let row `target` hold what row `source` holds."""
        count = self.lengths[target] = self.lengths[source]
        self.tensor[:, :, target, :, :count] = self.tensor[:, :, source, :, :count]


class Decoder:
    """The forward pass of one model, with weights in one number format."""

    def __init__(self, weights: Weights, compiled: kernel.Kernel | None) -> None:
        self.weights, self.kernel = weights, compiled

    def read(self, tokens: list[list[int]], slots: list[int], cache: Cache) -> torch.Tensor:
        """Read `tokens[i]` after what row `slots[i]` of the cache holds; the logits after each's last: float32 [rows, vocabulary]."""
        import torch

        single = all(len(one) == 1 for one in tokens)
        with torch.inference_mode():
            if self.kernel and single and len(tokens) <= kernel.MOST_TOKENS:
                logits = self.kernel([one[0] for one in tokens], slots, cache)
            else:
                logits = self._forward(tokens, slots, cache)
        for slot, new in zip(slots, tokens, strict=True):
            cache.lengths[slot] += len(new)
        return logits

    def _forward(self, tokens: list[list[int]], slots: list[int], cache: Cache) -> torch.Tensor:
        """All rows' tokens one after the other as one matrix [tokens, width]; only attention looks at row by row."""
        import torch
        from torch.nn.functional import gelu, silu

        model = self.weights
        begins = [cache.lengths[slot] for slot in slots]
        places = torch.cat([torch.arange(begin, begin + len(new)) for begin, new in zip(begins, tokens, strict=True)])
        x = model.embedding[torch.tensor([one for new in tokens for one in new])]
        if model.positions is not None:
            x = x + model.positions[places].to(x.dtype)
        for layer, stored in zip(model.layers, cache.tensor, strict=True):
            h = self._norm(layer.norm1, x)
            query, key, value = (_project(one, h).unflatten(-1, (-1, model.size)) for one in (layer.query, layer.key, layer.value))
            if model.cosine is not None and model.sine is not None:
                cosine, sine = (one[places, None].to(x.dtype) for one in (model.cosine, model.sine))
                query, key = (_rotate(one, cosine, sine) for one in (query, key))
            parts, at = [], 0
            for slot, begin, new in zip(slots, begins, map(len, tokens), strict=True):
                held, span = stored[:, slot, :, : begin + new], slice(at, at + new)
                held[0, :, begin:], held[1, :, begin:] = key[span].transpose(0, 1), value[span].transpose(0, 1)
                parts.append(_attend(query[span].transpose(0, 1), held[0], held[1]))
                at += new
            x = x + _project(layer.output, torch.cat(parts))
            h = self._norm(layer.norm2, x)
            up = _project(layer.up, h)
            h = gelu(up, approximate="tanh") if layer.gate is None else silu(_project(layer.gate, h)) * up
            x = x + _project(layer.down, h)
        ends = torch.tensor([len(new) for new in tokens]).cumsum(0) - 1
        return _project(Projection(model.head), self._norm(model.norm, x[ends])).float()

    def _norm(self, norm: Norm, x: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import layer_norm, rms_norm

        wide, shape = x.float(), norm.weight.shape
        if self.weights.rms:
            return rms_norm(wide, shape, norm.weight, self.weights.eps).to(x.dtype)
        return layer_norm(wide, shape, norm.weight, norm.bias, self.weights.eps).to(x.dtype)


def _project(one: Projection, x: torch.Tensor) -> torch.Tensor:
    import torch

    bias = None if one.bias is None else one.bias.to(x.dtype)
    if one.weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(x, one.weight, bias, "none", [], "")
    return torch.nn.functional.linear(x, one.weight, bias)


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al., 2021, https://arxiv.org/abs/2104.09864) of x [tokens, heads, size], halves as in Llama."""
    import torch

    low, high = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-high, low], dim=-1) * sine


def _attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last queries [heads, new, size] on keys and values [groups, all, size]: [new, heads * size]."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    new, count, shared = query.shape[1], keys.shape[1], query.shape[0] // keys.shape[0]
    if new == 1:
        # A group's queries as if they were positions: each key is then read once. PyTorch's kernel for one query is slow in bf16.
        grouped = query.reshape(keys.shape[0], shared, -1)
        mixed = scaled_dot_product_attention(grouped.float()[None], keys.float()[None], values.float()[None])
        return mixed.to(query.dtype).reshape(1, -1)
    mask = None if new == count else torch.ones(new, count, dtype=torch.bool).tril(count - new)
    mixed = scaled_dot_product_attention(query[None], keys[None], values[None], mask, is_causal=mask is None, enable_gqa=shared > 1)
    return mixed[0].transpose(0, 1).reshape(new, -1)


_prepared: weakref.WeakKeyDictionary[Any, tuple[Any, Decoder]] = weakref.WeakKeyDictionary()
_preparing = threading.Lock()


def prepare(model: Any, dtype: torch.dtype) -> Decoder | None:
    """The decoder of `model` in `dtype`, or None for a model that is left to transformers.

    It is kept with the model, one number format at a time, and made anew when any weight has changed since.
    """
    with exclusive(model), _preparing:
        if refusal(model):
            return None
        signature = (dtype, [_mark(one) for one in model.parameters()])
        if model not in _prepared or _prepared[model][0] != signature:
            _prepared.pop(model, None)  # first, so that two never lie in memory
            _prepared[model] = (signature, _make(model, dtype))
        return _prepared[model][1]


def release(model: Any = None) -> None:
    """Free the weights that were copied for decoding `model`, or any model: before a training, for example."""
    with _preparing:
        if model is None:
            _prepared.clear()
        else:
            _prepared.pop(model, None)


def _make(model: Any, dtype: torch.dtype) -> Decoder:
    """With the compiled kernel where it can be had, else with packed weights, else with the model's own."""
    import torch

    if sum(one.numel() for one in model.parameters()) * dtype.itemsize > available_memory() / 2:  # not at the price of the last memory
        return Decoder(read(model, dtype, lambda weight: weight), None)
    if code := kernel.library():
        # The kernel wants an output's weights side by side, which means a copy of GPT-2's matrices: they are stored the other way round.
        weights = read(model, dtype, torch.Tensor.contiguous)
        if kernel.Kernel.fits(weights):
            return Decoder(weights, kernel.Kernel(weights, code))
    return Decoder(read(model, dtype, _pack if can_pack(dtype) else lambda weight: weight), None)


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed weights work here: tried, because PyTorch documents these operations for its compiler only.

    They multiply a few rows about twice as fast as `linear` with weights as they are (measured, see benchmarks/README.md).
    """
    import torch

    weight, x = torch.eye(64, dtype=dtype), torch.arange(64.0).to(dtype)[None]
    try:
        return torch.equal(_project(Projection(_pack(weight)), x), x)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _pack(weight: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1)


def _mark(weight: torch.Tensor) -> tuple[int, int]:
    """Address and sum of a weight's bits. Version counters miss changes through `.data`; reading all of it costs a few tokens' time."""
    import torch

    bits = weight.detach().reshape(-1).view(torch.uint8)
    if bits.storage_offset() % 8:
        bits = bits.clone()  # a weight inside another tensor, where no whole int64 begins
    whole = bits[: len(bits) // 8 * 8].view(torch.int64)
    return weight.data_ptr(), int(whole.sum()) + sum(bits[len(whole) * 8 :].tolist())
