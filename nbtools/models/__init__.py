"""Load and save a causal language model together with its tokenizer."""

from nbtools.models.checking import ModelFacts, inspect_model
from nbtools.models.loading import LanguageModel, load_model, locate, parameter_table, save_model
from nbtools.models.making import new_gpt2, train_tokenizer

__all__ = [
    "LanguageModel",
    "ModelFacts",
    "inspect_model",
    "load_model",
    "locate",
    "new_gpt2",
    "parameter_table",
    "save_model",
    "train_tokenizer",
]
