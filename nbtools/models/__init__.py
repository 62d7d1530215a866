"""Load and save a causal language model together with its tokenizer."""

from nbtools.models.checking import inspect_model
from nbtools.models.loading import LanguageModel, load_model, locate, parameter_table, save_model
from nbtools.models.locking import Turns, evaluating, exclusive, exclusively, lock_of, note_training

__all__ = [
    "LanguageModel",
    "Turns",
    "evaluating",
    "exclusive",
    "exclusively",
    "inspect_model",
    "load_model",
    "locate",
    "lock_of",
    "note_training",
    "parameter_table",
    "save_model",
]
