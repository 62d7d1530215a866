"""Memory of a fine-tuning: the least that it can do with, from shapes alone, and the most that it is seen to hold."""

from __future__ import annotations

import threading
from typing import Any

import psutil

from nbtools.errors import MachineError
from nbtools.runtime import available_memory, device, total_memory

SAMPLE_SECONDS = 0.02
LIBRARIES = 300 * 10**6  # bytes that Python, PyTorch and transformers hold at least, once they are loaded
KEPT_WIDTHS = 6  # what a layer keeps of each token for the backward pass, at least, in units of the model's width
SHORT_BLOCK = 128  # tokens; a shorter block saves next to nothing


def held_memory() -> int:
    """Bytes that this process holds now: on a GPU what PyTorch has reserved there, else its resident memory."""
    import torch

    return torch.cuda.memory_reserved() if device().type == "cuda" else int(psutil.Process().memory_info().rss)


def free_memory() -> int:
    """Bytes that this process may still take where it trains: of the GPU's memory, or of the machine's.

    With what it holds that is never more than a container's limit, though file pages that it has mapped may be charged to another group.
    """
    import torch

    if device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return max(0, min(available_memory(), total_memory() - held_memory()))


class PeakMemory:
    """A context that watches `held_memory`; `bytes` is then the most that was seen.

    It looks fifty times a second and does not ask the system for its own record: that one cannot be started anew without
    taking it from whoever reads it later (metrics.json does).
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


def least_memory(model: Any, batch_size: int, block_size: int, choices: dict[str, Any] | None = None) -> int:
    """Bytes that a process which trains `model` holds at least: libraries, weights, gradients, AdamW's moments, copies in the
    format of the passes, what the backward pass needs of the forward pass, logits.

    batch_size, block_size  blocks a step (of this process) and tokens a block
    choices                 what `choose` said; None: of whatever it may say, the thriftiest

    Worked out from shapes. It is a lower bound: what an allocator wastes, and what is held for a moment only, is left out.
    """
    config = model.config
    weights = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    bf16 = choices is None or choices["dtype"] != "fp32"
    # With bf16 copies: copy, gradient and first moment of 2 bytes each, second moment of 4. Else a gradient and two moments of 4,
    # and of each weight a copy of 2 that autocast keeps.
    thrifty = choices is None or choices["bf16_copies"]
    state = 10 * trained if thrifty else 12 * trained + 2 * weights * bf16
    tokens, size = batch_size * block_size, 2 if bf16 else 4
    activations = tokens * config.num_hidden_layers * config.hidden_size * size * KEPT_WIDTHS
    # The fused loss holds the logits of half of the tokens; the library's holds all of them, in fp32 and once more as gradient.
    logits = tokens * config.vocab_size * (size // 2 if choices is None or choices["loss"] == "fused" else 8)
    return LIBRARIES * (device().type != "cuda") + 4 * weights + state + activations + logits


def refuse_impossible(model: Any, batch_size: int, block_size: int, choices: dict[str, Any] | None = None) -> None:
    """Raise MachineError, with advice, when `least_memory` is more than this process can have."""
    refuse(least_memory(model, batch_size, block_size, choices), held_memory() + free_memory(), model, batch_size, block_size)


def refuse(needed: int, can_have: int, model: Any, batch_size: int, block_size: int, adapters: bool = True) -> None:
    """Raise MachineError, with advice, when a training needs more bytes of memory than its process can have.

    adapters  whether the caller could train adapters instead
    """
    if needed <= can_have:
        return
    from nbtools.accel.fast_path import has_adapters

    advice = [f"a batch_size below {batch_size}"] if batch_size > 1 else []
    if block_size > SHORT_BLOCK:
        advice.append(f"a block_size below {block_size}")
    if adapters and not has_adapters(model):
        advice.append("lora=True")
    instead = f"{', '.join(advice)} or a smaller profile" if advice else "a smaller profile"
    raise MachineError(
        f"This fine-tuning needs {needed / 1e9:.1f} GB of memory, and this process can have {can_have / 1e9:.1f} GB.",
        f"Shut other notebooks' kernels down, or take {instead}.",
    )
