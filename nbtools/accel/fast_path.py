"""Changes to a model that make its training faster on a CPU, all undone by `release`.

- The loss is `linear_cross_entropy`, without fp32 logits. Attention is `packed_attention`.
- In bf16 the matrices can be bf16 copies whose fp32 originals `MasterAdamW` trains; sums along the residual stream stay fp32.
- Compiled, all transformer blocks share one program. Not compiled, GPT-2's activation is one operation of PyTorch instead of the eight
  that the library writes.

It applies to the families that are tested (GPT-2 and Llama-like), trained completely or by low-rank adapters beside frozen weights.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import torch
import torch._functorch.config
from transformers.activations import NewGELUActivation
from transformers.modeling_outputs import CausalLMOutput
from transformers.pytorch_utils import Conv1D

from nbtools.accel.linear_loss import IGNORED, SharedGradient, linear_cross_entropy, shared_embedding
from nbtools.accel.native import enabled
from nbtools.accel.packed_attention import register

FAMILIES = ("gpt2", "llama")
# The part of the activations that is kept for the backward pass; the rest, cheap loops, is computed again. A step of GPT-2 small takes as
# long as with 1.0, and 400 MB less.
KEPT_ACTIVATIONS = 0.4

# The compiled program is kept with its block: the run uses the program of a probe, and a pause compiles nothing again.
_PROGRAMS: weakref.WeakKeyDictionary[torch.nn.Module, Any] = weakref.WeakKeyDictionary()


def has_adapters(model: Any) -> bool:
    """Return whether `model` is peft's wrapper around a transformers model."""
    return hasattr(model, "peft_config")


def fits(model: Any) -> bool:
    """Return whether `model` is of a tested family, has no output bias, and is trained completely or only by its adapters."""
    if not enabled():
        return False
    plain = model.get_base_model() if has_adapters(model) else model
    ends = (plain.get_input_embeddings(), plain.get_output_embeddings())
    return (
        getattr(plain.config, "model_type", None) in FAMILIES
        and getattr(ends[1], "bias", None) is None
        and (
            not any(weight.requires_grad for end in ends for weight in end.parameters())
            if has_adapters(model)
            else all(weight.requires_grad for weight in model.parameters())
        )
    )


class FastPath:
    """Faster training of one model: `engage` before training, `release` after it, `paused` for an evaluation in between.

    dtype     of the forward and backward passes: fp32 or bf16
    compiled  whether to compile, which needs a C++ compiler
    copies    whether the matrices are bf16 copies while engaged; only where all weights are trained
    """

    def __init__(self, model: Any, dtype: torch.dtype, compiled: bool, copies: bool) -> None:
        self.model, self.dtype, self.compiled, self.copies = model, dtype, compiled, copies
        self.plain = model.get_base_model() if has_adapters(model) else model
        self.attention = self.plain.config._attn_implementation
        self.embedding, self.head = self.plain.get_input_embeddings(), self.plain.get_output_embeddings()
        shared = self.embedding.weight is self.head.weight and self.head.weight.requires_grad
        self.gradient = SharedGradient() if shared else None
        self.working: dict[torch.nn.Parameter, torch.nn.Parameter] = {}  # the bf16 copy of each matrix
        self.engaged = False

    def engage(self) -> None:
        if self.engaged:
            return
        self.engaged = True
        self.model.forward = self._forward
        if self.gradient is not None:
            self.embedding.forward = lambda ids: shared_embedding(ids, self.embedding.weight, self.gradient)  # type: ignore[arg-type]
        self.plain.set_attn_implementation(register())
        # New parameters, not new data in the same ones: changing the format of a parameter's data drops the hooks that wait for its
        # gradient, such as those of distributed training.
        if self.copies and not self.working:
            self.working = {weight: torch.nn.Parameter(weight.detach().to(torch.bfloat16)) for weight in self._matrices()}
        self._put(self.working)
        if not self.compiled:
            for activation in self._activations():
                activation.forward = functools.partial(torch.nn.functional.gelu, approximate="tanh")
            return
        for block in self._blocks():
            block._compiled_call_impl = _PROGRAMS.get(block)
            if block._compiled_call_impl is None:
                block.compile()
                _PROGRAMS[block] = block._compiled_call_impl

    def release(self) -> None:
        """Restore the model, with the trained fp32 weights."""
        if not self.engaged:
            return
        self.engaged = False
        del self.model.forward
        if self.gradient is not None:
            del self.embedding.forward
        self.plain.set_attn_implementation(self.attention)
        self._put({copy: weight for weight, copy in self.working.items()})
        for copy in self.working.values():
            copy.grad = None
        if not self.compiled:
            for activation in self._activations():
                del activation.forward
            return
        for block in self._blocks():
            block._compiled_call_impl = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The plain fp32 model, for a score or a checkpoint in the middle of training. No weight is copied."""
        engaged = self.engaged
        self.release()
        try:
            yield
        finally:
            if engaged:
                self.engage()

    def _blocks(self) -> list[Any]:
        """The transformer blocks: the list of modules with one entry per layer."""
        depth = self.plain.config.num_hidden_layers
        return list(next(module for module in self.model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == depth))

    @property
    def masters(self) -> dict[torch.nn.Parameter, torch.Tensor]:
        """The fp32 weights of each parameter that is a bf16 copy."""
        return {copy: weight.data for weight, copy in self.working.items()}

    def _put(self, others: dict[torch.nn.Parameter, torch.nn.Parameter]) -> None:
        """Replace parameters wherever they are used."""
        for module in self.model.modules():
            for name, weight in module._parameters.items():
                if weight in others:
                    module._parameters[name] = others[weight]

    def _activations(self) -> list[Any]:
        return [module for module in self.model.modules() if isinstance(module, NewGELUActivation)]

    def _matrices(self) -> list[Any]:
        """The weights of all linear layers, the output layer's included."""
        layers = (module for module in self.model.modules() if isinstance(module, (torch.nn.Linear, Conv1D)))
        return list(dict.fromkeys(layer.weight for layer in layers))

    def _forward(
        self, input_ids: Any = None, labels: Any = None, position_ids: Any = None, num_items_in_batch: Any = None, **keywords: Any
    ) -> Any:
        """The loss alone: mean, or sum divided by `num_items_in_batch`, with labels shifted as in transformers.

        Without labels, for example when a callback asks for logits, the plain model answers.
        """
        if labels is None:
            with self.paused():
                return self.model.forward(input_ids, position_ids=position_ids, **keywords)
        kind = input_ids.device.type
        keep = torch._functorch.config.patch(activation_memory_budget=KEPT_ACTIVATIONS)
        with keep, torch.autocast(kind, dtype=self.dtype, enabled=self.dtype != torch.float32):
            # With a cache, or a mask, documents in a block would attend to each other.
            hidden = self.plain.base_model(input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
        shifted = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:].flatten()
        flat = hidden.reshape(-1, hidden.shape[-1]).to(self.dtype)
        loss = linear_cross_entropy(flat, self.head.weight, shifted, num_items_in_batch, compiled=self.compiled, gradient=self.gradient)
        return CausalLMOutput(loss=loss)
