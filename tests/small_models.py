"""Small models for tests: the shipped `mini`, which no test may change, and tiny random models, which a test may."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from nbtools.models import LanguageModel, load_model
from nbtools.models.loading import MINI_FOLDER
from nbtools.profiles import PROFILES


@functools.cache
def mini() -> LanguageModel:
    """The shipped model, shared by all tests: never train it."""
    return load_model("mini", verbose=False)


def tiny(kind: str = "gpt2", seed: int = 0, context: int = 64) -> LanguageModel:
    """A fresh random model of two layers with mini's tokenizer; the profile is mini's, so defaults resolve."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(MINI_FOLDER)
    if kind == "gpt2":
        no_dropout: dict[str, Any] = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        size: dict[str, Any] = {"n_positions": context, "n_embd": 32, "n_layer": 2, "n_head": 4}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **size, **no_dropout))
    else:
        heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
        size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": context}
        special: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size, **heads, **special))
    return LanguageModel(model.eval(), tokenizer, f"tiny-{kind}", "made by a test", PROFILES["mini"])


# Where there is a compiler, torch.compile must work: a test that finds it broken fails.
needs_a_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler is installed here")
