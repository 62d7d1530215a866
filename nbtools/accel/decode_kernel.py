"""One decoding step as compiled code: `decode_kernel.cpp` bound to the weights of one model.

Each step reads all weights from memory once. PyTorch's operations reach about half of the memory's speed at that and wait for one another.
Where the kernel is not available, `decoder.py` computes the same in PyTorch.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch

from nbtools.accel.native import native_library
from nbtools.accel.weights import Weights

if TYPE_CHECKING:
    from nbtools.accel.decoder import KVCache

MAX_TOKENS = 16  # per step; for more, PyTorch's matrix products are as fast
WIDTH_STEP = 32  # weights that the kernel reads at a time


class _Shape(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in "layers width heads groups size inner vocabulary capacity cache_rows rms".split()),
        ("eps", ctypes.c_float),
    ]


class DecodeKernel:
    """`decode_kernel.cpp` bound to one model's weights, which must be contiguous."""

    def __init__(self, weights: Weights) -> None:
        code = native_library("decode_kernel")
        assert code is not None
        self.weights = weights  # keeps the memory alive that the addresses below point to
        self.step = code.step_fp32 if weights.dtype == torch.float32 else code.step_bf16
        vocabulary, width = weights.head.shape
        own = {name: getattr(weights, name) for name in ("heads", "groups", "size", "rms", "eps")}
        inner = weights.layers[0].up.weight.shape[0]
        self.shape = _Shape(layers=len(weights.layers), width=width, inner=inner, vocabulary=vocabulary, **own)
        norm = weights.norm
        self.outer = _addresses([weights.embedding, weights.positions, weights.cosine, weights.sine, norm.weight, norm.bias, weights.head])
        ordered: list[Any] = []
        for layer in weights.layers:
            attention, mlp = (layer.query, layer.key, layer.value, layer.output), (layer.gate, layer.up, layer.down)
            for norm, projections in ((layer.norm1, attention), (layer.norm2, mlp)):
                ordered += [norm.weight, norm.bias]
                ordered += [each and each.weight for each in projections] + [each and each.bias for each in projections]
        self.layers = _addresses(ordered)

    @staticmethod
    def fits(weights: Weights) -> bool:
        """Whether every matrix has rows that the kernel can read in complete steps."""
        first = weights.layers[0]
        return all(each.weight.shape[1] % WIDTH_STEP == 0 for each in (first.query, first.output, first.down))

    def __call__(self, ids: list[int], slots: list[int], cache: KVCache) -> torch.Tensor:
        """Read one more token in each of the cache's rows `slots`; returns the logits after it, float32 [tokens, vocabulary]."""
        shape, numbers = self.shape, ctypes.c_int32 * len(ids)
        shape.cache_rows, shape.capacity = cache.tensor.shape[2], cache.tensor.shape[4]
        logits = torch.empty(len(ids), shape.vocabulary)
        tokens = numbers(*ids), numbers(*slots), numbers(*(cache.lengths[slot] for slot in slots))
        memory = ctypes.c_void_p(cache.tensor.data_ptr()), ctypes.c_void_p(logits.data_ptr())
        self.step(ctypes.byref(shape), self.outer, self.layers, len(ids), *tokens, *memory, torch.get_num_threads())
        return logits


def _addresses(tensors: list[torch.Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if each is None else each.data_ptr() for each in tensors))
