"""The time and memory that attention takes on this machine, measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nbtools.attention.formulas import causal_mask, scaled_dot_product
from nbtools.system import keep_threads
from nbtools.values import checked

LONGEST = 3  # lengths that the growth is read from


@dataclass(frozen=True)
class AttentionCost:
    """Time and memory of one head on one core, for several numbers of tokens. Arrays have one entry per length."""

    lengths: np.ndarray
    """int64, numbers of tokens"""
    projection: np.ndarray
    """Seconds for Q, K and V: one matrix product, linear in the length."""
    attention: np.ndarray
    """Seconds for scores, mask, softmax and weighted sum, step by step: quadratic."""
    fused: np.ndarray
    """Seconds for the same in PyTorch's fused kernel, which never stores all scores at once: still quadratic."""
    score_bytes: np.ndarray
    """int64, bytes of the head's float32 scores"""

    def growth(self) -> dict[str, float]:
        """The exponent with which each of the three times grows with the length: the slope of a line through the logarithms of the
        LONGEST lengths, where fixed costs hardly matter.

        Near 1 for the projection and near 2 for the other two; more where the stored scores exceed the processor's cache.
        """
        times = {"projection": self.projection, "attention": self.attention, "fused": self.fused}
        return {
            name: float(np.polyfit(np.log(self.lengths[-LONGEST:]), np.log(seconds[-LONGEST:]), 1)[0]) for name, seconds in times.items()
        }


@checked(lengths=(1, 65_536), width=(1, 65_536), d_k=(1, 65_536), rounds=(1, 1_000))
def measure_cost(
    lengths: Sequence[int] = (256, 512, 1024, 2048, 4096), *, width: int = 256, d_k: int = 32, rounds: int = 6
) -> AttentionCost:
    """Time one causal head at each length on the CPU: its projections, `scaled_dot_product`, and PyTorch's fused kernel.

    lengths  numbers of tokens
    width    of the input
    d_k      width of the head
    rounds   how often each length is measured

    One thread. The fastest of the rounds counts, because other work on the machine only adds time; the lengths take turns, so that a busy
    moment affects all of them. Needs about 5 * 4 * length² bytes.
    """
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(width, 3 * d_k, generator=generator) / width**0.5
    inputs = [(torch.randn(count, width, generator=generator), causal_mask(count)) for count in lengths]
    seconds = np.full((rounds, len(inputs), 3), np.inf)
    with keep_threads():
        torch.set_num_threads(1)
        for once in seconds:
            for index, (X, mask) in enumerate(inputs):
                marks = [time.perf_counter()]
                Q, K, V = (tensor[None, None] for tensor in (X @ W).chunk(3, dim=-1))
                marks.append(time.perf_counter())
                scaled_dot_product(Q, K, V, mask)
                marks.append(time.perf_counter())
                torch.nn.functional.scaled_dot_product_attention(Q, K, V, is_causal=True)
                marks.append(time.perf_counter())
                once[index] = np.diff(marks)
    projection, attention, fused = seconds.min(axis=0).T
    sizes = np.asarray(lengths, dtype=np.int64)
    return AttentionCost(sizes, projection, attention, fused, 4 * sizes**2)
