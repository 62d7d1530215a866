"""The weights of a GPT-2 or Llama model, arranged for decoding, and the reasons why other models are decoded by transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from nbtools.accel.native import enabled


@dataclass(frozen=True)
class Affine:
    """A linear layer, or a norm, whose weight is float32 [width]."""

    weight: torch.Tensor
    """[outputs, inputs] in the decoder's number format."""
    bias: torch.Tensor | None = None
    """float32 [outputs]; a root-mean-square norm has none."""


@dataclass(frozen=True)
class Layer:
    """One transformer block."""

    norm1: Affine
    norm2: Affine
    query: Affine
    key: Affine
    value: Affine
    output: Affine
    gate: Affine | None
    """None where the feed-forward part is not gated (GPT-2)."""
    up: Affine
    down: Affine


@dataclass(frozen=True)
class Weights:
    """All weights of a model."""

    embedding: torch.Tensor
    """[vocabulary, width] in the decoder's number format."""
    positions: torch.Tensor | None
    """float32 [context, width], learned (GPT-2)."""
    cosine: torch.Tensor | None
    """float32 [context, head size] of rotary positions (Su et al., 2021)."""
    sine: torch.Tensor | None
    """The same for the sine."""
    layers: list[Layer]
    norm: Affine
    head: torch.Tensor
    """[vocabulary, width]; the embedding's own tensor where the model ties the two and `arrange` leaves it as it is."""
    heads: int
    """Heads of queries."""
    groups: int
    """Heads of keys and values, each shared by heads / groups heads of queries (Ainslie et al., 2023)."""
    size: int
    """Width of a head."""
    eps: float
    rms: bool
    """Whether the norms are root-mean-square norms (Llama)."""

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype


def unsupported_reason(model: Any) -> str | None:
    """Why only transformers can decode `model`, in a few words, or None where the decoder of this package can.

    Accepted are exactly the classes, settings and modules known here, on a CPU, with nothing added, wrapped or hooked.
    """
    if not enabled():
        return "NBTOOLS_ACCEL is 0"
    from transformers import GPT2LMHeadModel, LlamaForCausalLM  # importing them takes two seconds
    from transformers.pytorch_utils import Conv1D

    config = model.config
    if type(model) not in {GPT2LMHeadModel, LlamaForCausalLM}:
        return f"its class is {type(model).__name__}"
    weights = list(model.parameters())
    if any(weight.device.type != "cpu" for weight in weights):
        return "it is not on the CPU"
    if len(dtypes := {weight.dtype for weight in weights}) != 1 or not dtypes <= {torch.float32, torch.bfloat16}:
        return "its weights are neither all fp32 nor all bf16"
    for name, module in model.named_modules():
        # Adapters and quantization replace these two classes by others; patches replace a module's own `forward`.
        linear = type(module) in {torch.nn.Linear, Conv1D}
        known = type(module).__module__.startswith(("torch.nn.modules.", "transformers.models.", "transformers.activations"))
        if not linear and (not known or name.endswith(("proj", "c_attn", "c_fc", "lm_head"))):
            return f"{name} is a {type(module).__name__}"
        # transformers leaves its hooks on a model that once returned hidden states or attention; in other passes they do nothing.
        hooks = [hook for hook in module._forward_hooks.values() if hook.__module__ != "transformers.utils.output_capturing"]
        if hooks or module._forward_pre_hooks or "forward" in vars(module):
            return f"{name or 'the model'} has a hook"
    if type(model) is GPT2LMHeadModel:
        known = config.activation_function in {"gelu_new", "gelu_pytorch_tanh"} and config.scale_attn_weights
        rare = config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention
    else:
        known = config.hidden_act == "silu" and config.rope_parameters.get("rope_type") == "default"
        rare = bool(getattr(config, "sliding_window", None)) or config.hidden_size // config.num_attention_heads % 2
    return "of settings in its config" if rare or not known else None


def read_weights(model: Any, dtype: torch.dtype, arrange: Callable[[torch.Tensor], torch.Tensor]) -> Weights:
    """The weights of a model for which `unsupported_reason` is None.

    arrange  brings a matrix [outputs, inputs] (for GPT-2 a transposed view) into the layout that multiplies fastest

    Nothing is copied that has `dtype` already and that `arrange` leaves as it is.
    """
    config, rms = model.config, model.config.model_type == "llama"
    own = model.get_input_embeddings().weight
    embedding = own.detach().to(dtype)

    def matrix(weight: torch.Tensor) -> torch.Tensor:
        return arrange(weight.detach().to(dtype))

    def vector(weight: Any) -> Any:
        # Rounded like the matrices, so that bf16 means the same model as in transformers.
        return None if weight is None else weight.detach().to(dtype).float().contiguous()

    def norm(module: Any) -> Affine:
        return Affine(vector(module.weight), vector(getattr(module, "bias", None)))

    layers = []
    for norm1, norm2, pairs in (_llama_blocks if rms else _gpt2_blocks)(model):
        linear: list[Any] = [None if weight is None else Affine(matrix(weight), vector(bias)) for weight, bias in pairs]
        layers.append(Layer(norm(norm1), norm(norm2), *linear))
    positions = cosine = sine = None
    if rms:
        tables = model.model.rotary_emb(torch.zeros(1), torch.arange(config.max_position_embeddings)[None])
        cosine, sine = (vector(table[0]) for table in tables)
    else:
        positions = vector(model.transformer.wpe.weight)
    return Weights(
        embedding=embedding,
        positions=positions,
        cosine=cosine,
        sine=sine,
        layers=layers,
        norm=norm(model.model.norm if rms else model.transformer.ln_f),
        head=matrix(embedding if model.lm_head.weight is own else model.lm_head.weight),
        heads=config.num_attention_heads,
        groups=config.num_key_value_heads if rms else config.num_attention_heads,
        size=config.head_dim if rms else config.hidden_size // config.num_attention_heads,
        eps=config.rms_norm_eps if rms else config.layer_norm_epsilon,
        rms=rms,
    )


def _gpt2_blocks(model: Any) -> Iterator[tuple[Any, Any, list[Any]]]:
    """The two norms of each block, and weight and bias of its linear layers in the order of `Layer`."""
    for block in model.transformer.h:
        attention, mlp = block.attn, block.mlp
        # Conv1D stores [inputs, outputs].
        heads = zip(attention.c_attn.weight.t().chunk(3), attention.c_attn.bias.chunk(3), strict=True)
        output, up, down = ((each.weight.t(), each.bias) for each in (attention.c_proj, mlp.c_fc, mlp.c_proj))
        yield block.ln_1, block.ln_2, [*heads, output, (None, None), up, down]


def _llama_blocks(model: Any) -> Iterator[tuple[Any, Any, list[Any]]]:
    """The same for a Llama model."""
    for block in model.model.layers:
        attention, mlp = block.self_attn, block.mlp
        linear = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        yield block.input_layernorm, block.post_attention_layernorm, [(each.weight, each.bias) for each in linear]
