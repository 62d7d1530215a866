"""Changes to a model that make its training faster on a CPU, all undone by `release`.

- The loss is `linear_cross_entropy`, without fp32 logits. Attention is `packed_attention`.
- In bf16 the matrices can be bf16 copies whose fp32 originals `MasterAdamW` trains; sums along the residual stream stay fp32.
- Linear layers are oneDNN's products, with the bias added in the same pass, where it is faster than MKL.
- GPT-2's activation is one operation instead of the eight that the library writes. Compiled, all transformer blocks share one program.

It applies to the families that are tested (GPT-2 and Llama-like), trained completely or by low-rank adapters beside frozen weights.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch._functorch.config
from transformers.activations import NewGELUActivation
from transformers.modeling_outputs import CausalLMOutput
from transformers.pytorch_utils import Conv1D

from nbtools.accel import kernels
from nbtools.accel.linear_loss import IGNORED, SharedGradient, linear_cross_entropy, shared_embedding, token_losses
from nbtools.accel.native import enabled
from nbtools.accel.packed_attention import find_documents, register
from nbtools.system import onednn_is_faster

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


def can_score(model: Any) -> bool:
    """Return whether `FastPath.score` applies to `model`: of a tested family, on a CPU, in fp32, without an output bias."""
    plain = model.get_base_model() if has_adapters(model) else model
    head = plain.get_output_embeddings()
    return (
        enabled()
        and getattr(plain.config, "model_type", None) in FAMILIES
        and getattr(head, "bias", None) is None
        and _is_fp32_on_cpu(plain)
    )


def _is_fp32_on_cpu(model: Any) -> bool:
    return all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in model.parameters())


@contextlib.contextmanager
def faster_layers(model: Any, dtype: torch.dtype = torch.float32, right_padded: bool = False) -> Iterator[None]:
    """Within this context the linear layers and activations of a model on a CPU are faster, with the same results up to rounding.

    model         its weights are fp32
    dtype         of the passes: torch.float32, or torch.bfloat16 within autocast
    right_padded  whether rows are padded on the right only, if at all: a mask is then not needed, and attention is faster, too

    For a training loop that computes everything else itself; where nothing is faster, the model stays as it is.
    """
    if not (enabled() and _is_fp32_on_cpu(model)):
        yield
        return
    onednn = torch.backends.mkldnn.is_available() if dtype == torch.bfloat16 else onednn_is_faster()
    replaced, attention = list(_replacements(model, dtype, onednn)), model.config._attn_implementation
    for module, forward in replaced:
        module.forward = forward
    if right_padded and model.config.model_type in FAMILIES:
        model.set_attn_implementation(register())
    try:
        yield
    finally:
        for module, _ in replaced:
            del module.forward
        if model.config._attn_implementation != attention:
            model.set_attn_implementation(attention)


def _replacements(model: Any, dtype: torch.dtype, onednn: bool, skip: Any = None) -> Iterator[tuple[Any, Any]]:
    """Layers, each with the faster `forward` that it gets."""
    for module in model.modules():
        if isinstance(module, NewGELUActivation):
            yield module, kernels.gelu
        elif onednn and module is not skip and type(module) in {torch.nn.Linear, Conv1D}:
            yield module, functools.partial(_linear, module, dtype)


def _linear(module: Any, dtype: torch.dtype, x: torch.Tensor) -> torch.Tensor:
    bias = module.bias if module.bias is None else module.bias.to(dtype)
    return kernels.Linear.apply(x.to(dtype), module.weight.to(dtype), bias, isinstance(module, Conv1D))


class FastPath:
    """Faster passes of one model: `engage` before training, `release` after it, `paused` for an evaluation in between; or a context.

    dtype     of the forward and backward passes: fp32 or bf16
    compiled  whether to compile, which needs a C++ compiler
    copies    whether the matrices are bf16 copies while engaged; only where all weights are trained
    onednn    whether linear layers call oneDNN (see `nbtools.system.onednn_is_faster`); else PyTorch chooses
    """

    def __init__(self, model: Any, dtype: torch.dtype, *, compiled: bool = False, copies: bool = False, onednn: bool = False) -> None:
        self.model, self.dtype, self.compiled, self.copies, self.onednn = model, dtype, compiled, copies, onednn
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
            for module, forward in _replacements(self.model, self.dtype, self.onednn, self.head):
                module.forward = forward
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
            for module, _ in _replacements(self.model, self.dtype, self.onednn, self.head):
                del module.forward
            return
        for block in self._blocks():
            block._compiled_call_impl = None

    def __enter__(self) -> Self:
        self.engage()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

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
            hidden = self.hidden(input_ids, position_ids)
        shifted = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:].flatten()
        flat = hidden.reshape(-1, hidden.shape[-1]).to(self.dtype)
        loss = linear_cross_entropy(flat, self.head.weight, shifted, num_items_in_batch, onednn=self.onednn, gradient=self.gradient)
        return CausalLMOutput(loss=loss)

    def score(self, texts: Sequence[np.ndarray], scored: Sequence[int]) -> list[float]:
        """The negative log-likelihood of each text's last `scored[i]` tokens, in nats; all texts are one row, without padding.

        texts  int [tokens] each, at most the model's context; the first token of a text is not scored
        """
        lengths = torch.tensor([len(ids) for ids in texts])
        ids = torch.from_numpy(np.concatenate(texts).astype(np.int64))
        positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
        ends = lengths.cumsum(0).tolist()
        predicted = torch.cat([torch.arange(end - count - 1, end - 1) for end, count in zip(ends, scored, strict=True)])
        hidden = self.hidden(ids[None], positions[None])[0, predicted]
        losses = token_losses(hidden, self.head.weight, ids[predicted + 1], onednn=self.onednn)
        return [float(part.double().sum()) for part in losses.split(list(scored))]

    def hidden(self, input_ids: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
        """The last layer's normalized output, [batch, tokens, width]. Where a position is 0, a document begins."""
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        documents = find_documents(position_ids)
        # With a cache, or a mask, documents in a block would attend to each other.
        return self.plain.base_model(input_ids, position_ids=position_ids, use_cache=False, documents=documents).last_hidden_state
