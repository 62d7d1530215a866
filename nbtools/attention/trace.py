"""The attention weights of every head in one forward pass, as NumPy arrays, so that figures and comparisons need no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from nbtools import texts
from nbtools.errors import InputError, MachineError, ModelError
from nbtools.models import LanguageModel, evaluating
from nbtools.system import available_memory
from nbtools.tokens import token_texts


@dataclass(frozen=True)
class AttentionTrace:
    """The attention weights of every head in one forward pass over one text."""

    text: str
    """The input; no special token is added."""
    ids: list[int]
    """Its token ids."""
    tokens: list[str]
    """The characters that each token covers (`nbtools.tokens.token_texts`)."""
    weights: np.ndarray
    """float32 [layers, heads, tokens, tokens]; weights[l, h, i, j] is how much token i attends to token j. Rows sum to 1."""
    name: str = ""
    """The model's name."""

    def __post_init__(self) -> None:
        count = len(self.ids)
        if self.weights.ndim != 4 or self.weights.shape[2:] != (count, count) or len(self.tokens) != count:
            raise ValueError(f"{count} ids and {len(self.tokens)} tokens do not fit weights of shape {self.weights.shape}")

    @property
    def layers(self) -> int:
        return int(self.weights.shape[0])

    @property
    def heads(self) -> int:
        return int(self.weights.shape[1])

    def check_head(self, layer: int, head: int) -> None:
        """Raise InputError for a layer or a head that does not exist. Both count from 0."""
        if not (0 <= layer < self.layers and 0 <= head < self.heads):
            remedy = f"Layers are 0 to {self.layers - 1} and heads 0 to {self.heads - 1}."
            raise InputError(f"There is no layer {layer}, head {head}.", remedy)


def trace_attention(lm: LanguageModel, text: str) -> AttentionTrace:
    """Run `lm` once over `text` and return every head's attention weights.

    The fused kernels return no weights, so the model is switched to its eager implementation, without dropout, during the call. Raises
    InputError for a text that is empty or longer than the model's context, MachineError if the weights do not fit into memory, and
    ModelError for a model that does not return weights for every layer.
    """
    text, ids = check_text(lm, text, arrays=2)
    _, tokens = token_texts(lm.tokenizer, text)
    with attending(lm.model), torch.inference_mode():
        attentions = lm.model(torch.tensor([ids], device=lm.device), output_attentions=True, use_cache=False).attentions
    arrays = [layer[0].float().cpu().numpy() for layer in attentions or () if layer is not None]
    layers = lm.model.config.num_hidden_layers
    if len(arrays) != layers:
        problem = f"{lm.name} gave attention weights for {len(arrays)} of its {layers} layers."
        raise ModelError(problem, "Use a model with attention in every layer, such as GPT-2 or Llama.")
    return AttentionTrace(text, ids, tokens, np.stack(arrays), lm.name)


def check_text(lm: LanguageModel, text: str, arrays: int = 0) -> tuple[str, list[int]]:
    """`text`, repaired (`nbtools.texts`), and its ids without special tokens.

    lm      the model that is to process it
    text    the text
    arrays  how many float32 copies of all weights will be in memory at once

    Raises what `trace_attention` raises.
    """
    if not isinstance(text, str) or not text:
        raise InputError("There is no text to trace.", "Give a sentence as a string.")
    text = texts.check_text(text)
    ids = list(lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    count = len(ids)
    if count > lm.context:
        raise InputError(f"The text has {count} tokens and {lm.name} reads at most {lm.context}.", "Give a shorter text.")
    config = lm.model.config
    needed = arrays * 4 * config.num_hidden_layers * config.num_attention_heads * count**2
    if needed > available_memory():
        raise MachineError(f"The weights of {count} tokens need {needed / 1e9:.1f} GB, more than is free here.", "Give a shorter text.")
    return text, ids


@contextmanager
def attending(model: PreTrainedModel, way: str = "eager") -> Iterator[None]:
    """Inside this context, `model` uses the attention implementation `way` of transformers, in evaluation mode, for this thread only."""
    with evaluating(model):
        implementation = model.config._attn_implementation
        model.set_attn_implementation(way)
        try:
            yield
        finally:
            model.set_attn_implementation(implementation)


def rollout(trace: AttentionTrace) -> np.ndarray:
    """Attention rollout (Abnar and Zuidema, 2020, https://arxiv.org/abs/2005.00928): attention multiplied through the layers.

    Each layer is the mean of its heads, averaged with the identity matrix for the residual connection. Returns float32
    [layers, tokens, tokens]: entry [l, i, j] estimates how much of position i after layer l comes from token j. Rows sum to 1.
    It is an estimate, because it ignores the values, the MLPs, and contributions that cancel.
    """
    mixed = 0.5 * trace.weights.mean(axis=1, dtype=np.float64) + 0.5 * np.eye(len(trace.ids))
    steps = [mixed[0]]
    for layer in mixed[1:]:
        steps.append(layer @ steps[-1])
    return np.stack(steps).astype(np.float32)
