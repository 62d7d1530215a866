"""The weights of a GPT-2 or Llama model, laid out for decoding, and the models that are left to transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Projection:
    """weight [outputs, inputs] in the decoding's number format; bias float32 [outputs] or None."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class Norm:
    """weight and bias float32 [width]; a root-mean-square norm has no bias."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """One block. gate is None where the feed-forward part is not gated (GPT-2)."""

    norm1: Norm
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    norm2: Norm
    gate: Projection | None
    up: Projection
    down: Projection


@dataclass(frozen=True)
class Weights:
    """A whole model. With `rms` its norms are root-mean-square norms (Llama), else layer norms (GPT-2).

    embedding, head   [vocabulary, width] in the decoding's number format, one tensor where the model ties them and `arrange` lets it
    positions         float32 [context, width], learned (GPT-2), or None
    cosine, sine      float32 [context, head size], rotary (Su et al., 2021), or None
    groups            heads of keys and values, each shared by heads / groups heads of queries (Ainslie et al., 2023)
    """

    embedding: torch.Tensor
    positions: torch.Tensor | None
    cosine: torch.Tensor | None
    sine: torch.Tensor | None
    layers: list[Layer]
    norm: Norm
    head: torch.Tensor
    heads: int
    groups: int
    size: int
    eps: float
    rms: bool

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype


def refusal(model: Any) -> str | None:
    """Why `model` is left to transformers, in a few words, or None for a model whose forward pass is written out here.

    Only what is known to the letter is taken: exactly these classes, on a CPU, with no module added, wrapped or hooked.
    """
    import torch
    from torch import nn
    from transformers import GPT2LMHeadModel, LlamaForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = model.config
    if type(model) not in {GPT2LMHeadModel, LlamaForCausalLM}:
        return f"its class is {type(model).__name__}"
    weights = list(model.parameters())
    if any(one.device.type != "cpu" for one in weights):
        return "it is not on the CPU"
    if len(dtypes := {one.dtype for one in weights}) != 1 or not dtypes <= {torch.float32, torch.bfloat16}:
        return "its weights are neither all fp32 nor all bf16"
    for name, module in model.named_modules():
        # Adapters and quantization put other classes in place of these two; patches replace a module's own `forward`.
        home = type(module).__module__
        if not (isinstance(module, Conv1D) or home.startswith(("torch.nn.modules.", "transformers.models.", "transformers.activations"))):
            return f"{name} is a {type(module).__name__}"
        if name.endswith(("proj", "c_attn", "c_fc", "lm_head")) and type(module) not in {nn.Linear, Conv1D}:
            return f"{name} is a {type(module).__name__}"
        # transformers leaves hooks on a model whose hidden states or attention were once asked for; in other passes they do nothing.
        hooks = [one for one in module._forward_hooks.values() if one.__module__ != "transformers.utils.output_capturing"]
        if hooks or module._forward_pre_hooks or "forward" in vars(module):
            return f"{name or 'the model'} has a hook"
    if type(model) is GPT2LMHeadModel:
        known = config.activation_function in {"gelu_new", "gelu_pytorch_tanh"} and config.scale_attn_weights
        rare = config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention
    else:
        known = config.hidden_act == "silu" and config.rope_parameters.get("rope_type") == "default"
        rare = bool(getattr(config, "sliding_window", None)) or config.hidden_size // config.num_attention_heads % 2
    return "of settings in its config" if rare or not known else None


def read(model: Any, dtype: torch.dtype, arrange: Callable[[torch.Tensor], torch.Tensor]) -> Weights:
    """The weights of a model that `refusal` lets pass. Nothing is copied that has `dtype` already and that `arrange` leaves.

    arrange  brings a matrix [outputs, inputs] (of GPT-2 a transposed view) into the layout that multiplies fastest
    """

    def matrix(weight: torch.Tensor) -> torch.Tensor:
        return arrange(weight.detach().to(dtype))

    def vector(weight: torch.Tensor | None) -> torch.Tensor | None:
        # Rounded like the matrices, so that bf16 means the same model as in transformers.
        return None if weight is None else weight.detach().to(dtype).float().contiguous()

    def norm(module: Any) -> Norm:
        weight = vector(module.weight)
        assert weight is not None
        return Norm(weight, vector(getattr(module, "bias", None)))

    family = _gpt2 if model.config.model_type == "gpt2" else _llama
    embedding = model.get_input_embeddings().weight.detach().to(dtype)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    head = matrix(embedding if tied else model.lm_head.weight)
    return family(model, embedding, head, matrix, vector, norm)


def _gpt2(model: Any, embedding: Any, head: Any, matrix: Any, vector: Any, norm: Any) -> Weights:
    config, inside = model.config, model.transformer
    layers = []
    for block in inside.h:
        # Conv1D keeps [inputs, outputs].
        three = zip(block.attn.c_attn.weight.t().chunk(3), block.attn.c_attn.bias.chunk(3), strict=True)
        output, up, down = (
            Projection(matrix(one.weight.t()), vector(one.bias)) for one in (block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
        )
        query, key, value = (Projection(matrix(weight), vector(bias)) for weight, bias in three)
        layers.append(Layer(norm(block.ln_1), query, key, value, output, norm(block.ln_2), None, up, down))
    return Weights(
        embedding, vector(inside.wpe.weight), None, None, layers, norm(inside.ln_f), head,
        config.n_head, config.n_head, config.n_embd // config.n_head, config.layer_norm_epsilon, rms=False,
    )  # fmt: skip


def _llama(model: Any, embedding: Any, head: Any, matrix: Any, vector: Any, norm: Any) -> Weights:
    import torch

    config, inside = model.config, model.model

    def projection(module: Any) -> Projection:
        return Projection(matrix(module.weight), vector(module.bias))

    layers = []
    for block in inside.layers:
        attention, mlp = block.self_attn, block.mlp
        query, key, value, output = map(projection, (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj))
        gate, up, down = map(projection, (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        layers.append(Layer(norm(block.input_layernorm), query, key, value, output, norm(block.post_attention_layernorm), gate, up, down))
    cosine, sine = inside.rotary_emb(torch.zeros(1), torch.arange(config.max_position_embeddings)[None])
    return Weights(
        embedding, None, vector(cosine[0]), vector(sine[0]), layers, norm(inside.norm), head,
        config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.rms_norm_eps, rms=True,
    )  # fmt: skip
