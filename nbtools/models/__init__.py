"""Load and save a causal language model together with its tokenizer."""

from nbtools.models.loading import LanguageModel, load_model, locate, parameter_table, save_model

__all__ = ["LanguageModel", "load_model", "locate", "parameter_table", "save_model"]
