"""Memory of a fine-tuning: a lower bound from shapes alone, and the measured peak."""

from __future__ import annotations

import threading
from typing import Any

import psutil
import torch

from nbtools.accel.fast_path import has_adapters
from nbtools.errors import MachineError
from nbtools.system import available_memory, device, total_memory
from nbtools.training.choices import TrainingChoices

SAMPLE_SECONDS = 0.02
LIBRARIES = 300 * 10**6  # bytes that Python, PyTorch and transformers hold at least once they are loaded
KEPT_WIDTHS = 6  # what a layer keeps per token for the backward pass, at least, in units of the model's width
SHORT_BLOCK = 128  # tokens; a shorter block saves next to nothing


def held_memory() -> int:
    """Bytes that this process holds now: on a GPU what PyTorch has reserved there, else its resident memory."""
    return torch.cuda.memory_reserved() if device().type == "cuda" else int(psutil.Process().memory_info().rss)


def free_memory() -> int:
    """Bytes that this process may still allocate where it trains: of the GPU's memory, or of the machine's.

    Together with what it holds, this never exceeds a container's limit, though pages of files that it has mapped may be charged to
    another group.
    """
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return max(0, min(available_memory(), total_memory() - held_memory()))


class PeakMemory:
    """A context that samples `held_memory` fifty times a second; `bytes` is then the maximum.

    The system's own record of the peak is not used: resetting it would falsify what metrics.json reads from it later.
    """

    def __enter__(self) -> PeakMemory:
        self.bytes = held_memory()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, held_memory())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.bytes = max(self.bytes, held_memory())


def least_memory(model: Any, batch_size: int, block_size: int, choices: TrainingChoices | None = None) -> int:
    """Bytes that a process which trains `model` holds at least: libraries, weights, gradients, AdamW's moments, copies in the format of
    the passes, activations, logits.

    batch_size  blocks per pass of this process
    block_size  tokens per block
    choices     None: those that need the least

    A lower bound, computed from shapes: what an allocator wastes, and what is held for a moment only, is left out.
    """
    config = model.config
    weights = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    bf16 = choices is None or choices.dtype != "fp32"
    # With bf16 copies: copy, gradient and first moment of 2 bytes each, second moment of 4. Otherwise a gradient and two moments of 4,
    # and a copy of 2 of each weight, which autocast keeps.
    copies = choices is None or choices.bf16_copies
    state = 10 * trained if copies else 12 * trained + 2 * weights * bf16
    tokens, size = batch_size * block_size, 2 if bf16 else 4
    activations = tokens * config.num_hidden_layers * config.hidden_size * size * KEPT_WIDTHS
    # The fused loss holds the logits of half of the tokens; the library's holds all of them, in fp32 and once more as gradient.
    logits = tokens * config.vocab_size * (size // 2 if choices is None or choices.loss == "fused" else 8)
    return LIBRARIES * (device().type != "cuda") + 4 * weights + state + activations + logits


def check_least_memory(model: Any, batch_size: int, block_size: int, choices: TrainingChoices | None = None) -> None:
    """Raise MachineError, with advice, when `least_memory` is more than this process can have."""
    check_memory(least_memory(model, batch_size, block_size, choices), held_memory() + free_memory(), model, batch_size, block_size)


def check_memory(needed: int, available: int, model: Any, batch_size: int, block_size: int, can_use_lora: bool = True) -> None:
    """Raise MachineError, with advice, when a training needs more bytes of memory than are available to its process.

    can_use_lora  whether the caller could train adapters instead
    """
    if needed <= available:
        return
    advice = [f"a batch_size below {batch_size}"] if batch_size > 1 else []
    if block_size > SHORT_BLOCK:
        advice.append(f"a block_size below {block_size}")
    if can_use_lora and not has_adapters(model):
        advice.append("lora=True")
    instead = f"{', '.join(advice)} or a smaller profile" if advice else "a smaller profile"
    raise MachineError(
        f"This fine-tuning needs {needed / 1e9:.1f} GB of memory, and this process can have {available / 1e9:.1f} GB.",
        f"Shut other notebooks' kernels down, or use {instead}.",
    )
