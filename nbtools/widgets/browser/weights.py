"""A model as the pages load it: configuration, tokenizer and weights in one script, in fp16 or as 8-bit differences from another model."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import ModelError
from nbtools.models import LanguageModel

if TYPE_CHECKING:
    import torch

MOST_PARAMETERS = 40_000_000
CONFIG = (
    "n_embd", "n_layer", "n_head", "n_positions", "vocab_size", "layer_norm_epsilon", "scale_attn_weights", "eos_token_id",
)  # fmt: skip
STEPS = 127  # of a row's largest absolute value


def pack_model(lm: LanguageModel, name: str, base: LanguageModel | None = None) -> dict[str, Any]:
    """What the page's worker makes a model of.

    lm    the model
    name  what the pages call it
    base  a model whose differences from `lm` are stored, in 8 bits, where both have the same shape and tokenizer

    Without a base the weights are stored as fp16, which for a model that was stored so is exact. Raises ModelError for a model that is no
    GPT-2, or too large for a page.
    """
    config = lm.model.config
    if config.model_type != "gpt2":
        raise ModelError(f"{name} is of the type {config.model_type}, and the pages run GPT-2 only.", "Give a model fine-tuned from mini.")
    if lm.parameters > MOST_PARAMETERS:
        problem = f"{name} has {lm.parameters / 1e6:,.0f} million parameters, more than a page should load."
        raise ModelError(problem, f"Give one with at most {MOST_PARAMETERS / 1e6:.0f} million.")
    tokenizer = json.loads(lm.tokenizer.backend_tokenizer.to_str())
    if tokenizer["model"]["type"] != "BPE" or tokenizer["pre_tokenizer"]["type"] != "ByteLevel":
        raise ModelError(f"{name} has a tokenizer that the pages do not know.", "Give a model with GPT-2's byte-level BPE.")
    weights = _weights(lm)
    plus = base is not None and tokenizer == json.loads(base.tokenizer.backend_tokenizer.to_str()) and _same_shapes(weights, _weights(base))
    data = _as_file(_differences(weights, _weights(base)) if plus and base is not None else weights)
    return {
        "name": name,
        "kind": type(lm.model).__name__,
        "config": {key: getattr(config, key) for key in CONFIG},
        "tokenizer": None if plus else {"added_tokens": tokenizer["added_tokens"], "model": _vocabulary(tokenizer["model"])},
        "plus": "base" if plus else None,
        "sum": zlib.crc32(data),
        "weights": base64.b64encode(data).decode("ascii"),
    }


def _vocabulary(model: dict[str, Any]) -> dict[str, Any]:
    return {"vocab": model["vocab"], "merges": model["merges"]}


def _weights(lm: LanguageModel) -> dict[str, torch.Tensor]:
    """The weights by name, without the output layer where it is the embedding."""
    return {name.removeprefix("transformer."): weight.detach().float().cpu() for name, weight in lm.model.named_parameters()}


def _same_shapes(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return {name: weight.shape for name, weight in one.items()} == {name: weight.shape for name, weight in other.items()}


def _differences(weights: dict[str, torch.Tensor], base: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`weights` minus `base`: matrices in 8 bits with a step for each row, the rest in fp32."""
    import torch

    stored = {}
    for name, weight in weights.items():
        difference = weight - base[name]
        if difference.dim() == 2:
            steps = difference.abs().amax(dim=1).clamp_min(1e-30) / STEPS
            stored[name] = (difference / steps[:, None]).round().to(torch.int8)
            stored[f"{name}.steps"] = steps
        else:
            stored[name] = difference
    return stored


def _as_file(weights: dict[str, torch.Tensor]) -> bytes:
    import torch
    from safetensors.torch import save

    # A difference's own numbers stay in fp32: they are few.
    halves = not any(name.endswith(".steps") for name in weights)
    return save({name: weight.to(torch.float16) if halves else weight for name, weight in weights.items()})


def model_name(folder: str | Path) -> str:
    """What the pages call the model of a run's folder."""
    path = Path(folder).resolve()
    return path.parent.name if path.name == "model" else path.name
