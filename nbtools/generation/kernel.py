"""One decoding step as compiled code: `kernel.cpp`, built once for the processor at hand, where Linux and a C++ compiler are.

Every step reads all weights from memory once; PyTorch's operations reach about half of the memory's speed at that, and wait for one
another. Without the kernel `decoder.py` does the same in PyTorch.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.runtime import native_library

if TYPE_CHECKING:
    import torch

    from nbtools.generation.decoder import Cache
    from nbtools.generation.weights import Projection, Weights

SOURCE = Path(__file__).with_name("kernel.cpp")
MOST_TOKENS = 16  # in one step; for more PyTorch's matrix products are as fast
WIDTH_STEP = 32  # the kernel reads so many weights at a time


def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where it cannot be had."""
    return native_library(SOURCE)


class _Shape(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in "layers width heads groups size inner vocabulary capacity cache_rows rms".split()),
        ("eps", ctypes.c_float),
    ]


class Kernel:
    """`kernel.cpp` bound to one model's weights, which must be contiguous."""

    def __init__(self, weights: Weights, code: ctypes.CDLL) -> None:
        import torch

        self.weights = weights  # the addresses below are theirs
        first = weights.layers[0]
        self.step = code.step_fp32 if weights.dtype == torch.float32 else code.step_bf16
        vocabulary, width = weights.head.shape
        self.shape = _Shape(
            layers=len(weights.layers), width=width, heads=weights.heads, groups=weights.groups, size=weights.size,
            inner=first.up.weight.shape[0], vocabulary=vocabulary, rms=weights.rms, eps=weights.eps,
        )  # fmt: skip
        norm = weights.norm
        outer = [weights.embedding, weights.positions, weights.cosine, weights.sine, norm.weight, norm.bias, weights.head]
        self.outer = _addresses(outer)
        ordered: list[Any] = []
        for layer in weights.layers:
            attention = (layer.query, layer.key, layer.value, layer.output)
            forward: tuple[Projection | None, ...] = (layer.gate, layer.up, layer.down)
            ordered += [layer.norm1.weight, layer.norm1.bias, *(one.weight for one in attention), *(one.bias for one in attention)]
            ordered += [
                layer.norm2.weight,
                layer.norm2.bias,
                *(one and one.weight for one in forward),
                *(one and one.bias for one in forward),
            ]
        self.layers = _addresses(ordered)

    @staticmethod
    def fits(weights: Weights) -> bool:
        """Whether all rows of the matrices can be read in whole steps."""
        first = weights.layers[0]
        return all(one.weight.shape[1] % WIDTH_STEP == 0 for one in (first.query, first.output, first.down))

    def __call__(self, ids: list[int], slots: list[int], cache: Cache) -> torch.Tensor:
        """Read one more token in each of the cache's rows `slots`; the logits that follow, float32 [tokens, vocabulary]."""
        import torch

        shape, numbers = self.shape, ctypes.c_int32 * len(ids)
        shape.cache_rows, shape.capacity = cache.tensor.shape[2], cache.tensor.shape[4]
        logits = torch.empty(len(ids), shape.vocabulary)
        self.step(
            ctypes.byref(shape), self.outer, self.layers, len(ids), numbers(*ids), numbers(*slots),
            numbers(*(cache.lengths[slot] for slot in slots)), ctypes.c_void_p(cache.tensor.data_ptr()),
            ctypes.c_void_p(logits.data_ptr()), torch.get_num_threads(),
        )  # fmt: skip
        return logits


def _addresses(tensors: list[torch.Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if one is None else one.data_ptr() for one in tensors))
