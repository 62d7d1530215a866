"""A lean forward pass for decoding GPT-2 and Llama models on a CPU: no padding, no modules, one key-value cache allocated at the start."""

from __future__ import annotations

import functools
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, linear, rms_norm, scaled_dot_product_attention, silu

from nbtools.accel.decode_kernel import MAX_TOKENS, DecodeKernel
from nbtools.accel.native import available
from nbtools.accel.weights import Affine, Weights, read_weights, unsupported_reason
from nbtools.models import exclusive
from nbtools.system import available_memory

# Where the best bf16 logit of transformers exceeds the second by more than this fraction of the largest magnitude, the decoder chooses the
# same token in bf16. bf16 has 8 significant bits; transformers rounds every activation and the logits to them in its own order, where the
# kernel sums in fp32. The fraction is eight units in the last place; the widest gap with different choices was five, in texts of mini,
# smollm2 and a random GPT-2.
BF16_GAP = 2**-5


@dataclass
class KVCache:
    """Keys and values of the tokens read so far. Memory that no token has reached is reserved, not used."""

    tensor: torch.Tensor
    """[layers, 2, rows, groups, capacity, head size]"""
    lengths: list[int]
    """The number of tokens in each row."""

    def copy(self, source: int, target: int) -> None:
        """Copy what row `source` holds to row `target`."""
        count = self.lengths[target] = self.lengths[source]
        self.tensor[:, :, target, :, :count] = self.tensor[:, :, source, :, :count]


class Decoder:
    """The forward pass of one model with weights in one number format; with `kernel`, steps of a few rows run in compiled code."""

    def __init__(self, weights: Weights, kernel: DecodeKernel | None) -> None:
        self.weights, self.kernel = weights, kernel

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """An empty cache for `rows` texts of at most `capacity` tokens each."""
        model = self.weights
        shape = (len(model.layers), 2, rows, model.groups, capacity, model.size)
        return KVCache(torch.empty(shape, dtype=model.dtype), [0] * rows)

    def read(self, tokens: list[list[int]], slots: list[int], cache: KVCache) -> torch.Tensor:
        """Append `tokens[i]` to row `slots[i]` of the cache; returns the logits after each row's last token, float32 [rows, vocabulary]."""
        with torch.inference_mode():
            if self.kernel and self.uses_kernel(len(tokens)) and all(len(row) == 1 for row in tokens):
                logits = self.kernel([row[0] for row in tokens], slots, cache)
            else:
                logits = self._forward(tokens, slots, cache)
        for slot, new in zip(slots, tokens, strict=True):
            cache.lengths[slot] += len(new)
        return logits

    def uses_kernel(self, rows: int) -> bool:
        """Whether a step of `rows` tokens runs in compiled code."""
        return self.kernel is not None and rows <= MAX_TOKENS

    def _forward(self, tokens: list[list[int]], slots: list[int], cache: KVCache) -> torch.Tensor:
        """All rows' tokens as one matrix [tokens, width]; only attention treats each row by itself."""
        model = self.weights
        starts = [cache.lengths[slot] for slot in slots]
        positions = torch.cat([torch.arange(start, start + len(new)) for start, new in zip(starts, tokens, strict=True)])
        x = model.embedding[torch.tensor([token for new in tokens for token in new])]
        if model.positions is not None:
            x = x + model.positions[positions].to(x.dtype)
        for layer, stored in zip(model.layers, cache.tensor, strict=True):
            h = self._norm(layer.norm1, x)
            query, key, value = (_project(each, h).unflatten(-1, (-1, model.size)) for each in (layer.query, layer.key, layer.value))
            if model.cosine is not None and model.sine is not None:
                cosine, sine = (table[positions, None].to(x.dtype) for table in (model.cosine, model.sine))
                query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
            mixed, begin = [], 0
            for slot, start, new in zip(slots, starts, map(len, tokens), strict=True):
                held, span = stored[:, slot, :, : start + new], slice(begin, begin + new)
                held[0, :, start:], held[1, :, start:] = key[span].transpose(0, 1), value[span].transpose(0, 1)
                mixed.append(_attend(query[span].transpose(0, 1), held[0], held[1]))
                begin += new
            x = x + _project(layer.output, torch.cat(mixed))
            h = self._norm(layer.norm2, x)
            up = _project(layer.up, h)
            h = gelu(up, approximate="tanh") if layer.gate is None else silu(_project(layer.gate, h)) * up
            x = x + _project(layer.down, h)
        last = torch.tensor([len(new) for new in tokens]).cumsum(0) - 1
        return _project(Affine(model.head), self._norm(model.norm, x[last])).float()

    def _norm(self, norm: Affine, x: torch.Tensor) -> torch.Tensor:
        wide, shape = x.float(), norm.weight.shape
        if self.weights.rms:
            return rms_norm(wide, shape, norm.weight, self.weights.eps).to(x.dtype)
        return layer_norm(wide, shape, norm.weight, norm.bias, self.weights.eps).to(x.dtype)


def _project(projection: Affine, x: torch.Tensor) -> torch.Tensor:
    bias = None if projection.bias is None else projection.bias.to(x.dtype)
    if projection.weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(x, projection.weight, bias, "none", [], "")
    return linear(x, projection.weight, bias)


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al., 2021, https://arxiv.org/abs/2104.09864) of x [tokens, heads, size], halves as in Llama."""
    low, high = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-high, low], dim=-1) * sine


def _attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last queries [heads, new, size] on keys and values [groups, all, size]: [new, heads * size]."""
    new, count, shared = query.shape[1], keys.shape[1], query.shape[0] // keys.shape[0]
    if new == 1:
        # A group's queries take the place of positions, so each key is read once. PyTorch's kernel for one query is slow in bf16.
        grouped = query.reshape(keys.shape[0], shared, -1)
        mixed = scaled_dot_product_attention(grouped.float()[None], keys.float()[None], values.float()[None])
        return mixed.to(query.dtype).reshape(1, -1)
    mask = None if new == count else torch.ones(new, count, dtype=torch.bool).tril(count - new)
    mixed = scaled_dot_product_attention(query[None], keys[None], values[None], mask, is_causal=mask is None, enable_gqa=shared > 1)
    return mixed[0].transpose(0, 1).reshape(new, -1)


_prepared: weakref.WeakKeyDictionary[Any, tuple[Any, Decoder]] = weakref.WeakKeyDictionary()
_preparing = threading.Lock()


def decoder_for(model: Any, dtype: torch.dtype) -> Decoder | None:
    """Return the decoder of `model` in `dtype`, or None for a model that only transformers can decode.

    It is kept with the model, one number format at a time, and made again when any weight has changed since.
    """
    with exclusive(model), _preparing:
        if unsupported_reason(model):
            return None
        signature = (dtype, [_fingerprint(weight) for weight in model.parameters()])
        if model not in _prepared or _prepared[model][0] != signature:
            _prepared.pop(model, None)  # first, so that memory never holds two
            _prepared[model] = (signature, _make(model, dtype))
        return _prepared[model][1]


def release(model: Any = None) -> None:
    """Free the weights that were copied for decoding `model`, or any model, for example before a training."""
    with _preparing:
        if model is None:
            _prepared.clear()
        else:
            _prepared.pop(model, None)


def _make(model: Any, dtype: torch.dtype) -> Decoder:
    """A decoder with the compiled kernel where that is possible, else with packed weights, else with the model's own weights."""
    if sum(weight.numel() for weight in model.parameters()) * dtype.itemsize > available_memory() / 2:  # leave memory for everything else
        return Decoder(read_weights(model, dtype, lambda weight: weight), None)
    if available("decode_kernel"):
        # The kernel needs each output's weights side by side, which means a copy of GPT-2's matrices: those are stored transposed.
        weights = read_weights(model, dtype, torch.Tensor.contiguous)
        if DecodeKernel.fits(weights):
            return Decoder(weights, DecodeKernel(weights))
    return Decoder(read_weights(model, dtype, _pack if can_pack(dtype) else lambda weight: weight), None)


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether oneDNN's packed weights work here; this is tested, because PyTorch documents these operations for its compiler only.

    They multiply a few rows about twice as fast as `linear` does with unpacked weights (measured, see benchmarks/README.md).
    """
    weight, x = torch.eye(64, dtype=dtype), torch.arange(64.0).to(dtype)[None]
    try:
        return torch.equal(_project(Affine(_pack(weight)), x), x)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _pack(weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1)


def _fingerprint(weight: torch.Tensor) -> tuple[int, int]:
    """Address and sum of a weight's bits. Version counters miss changes through `.data`; the sum costs as much as a few tokens."""
    bits = weight.detach().reshape(-1).view(torch.uint8)
    if bits.storage_offset() % 8:
        bits = bits.clone()  # a weight inside another tensor, where no int64 begins
    words = bits[: len(bits) // 8 * 8].view(torch.int64)
    return weight.data_ptr(), int(words.sum()) + sum(bits[len(words) * 8 :].tolist())
