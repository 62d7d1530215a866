"""Load and save a causal language model together with its tokenizer."""

from nbtools.models.checking import ModelFacts, inspect_model
from nbtools.models.loading import LanguageModel, load_model, locate, parameter_table, save_model
from nbtools.models.locking import Turns, evaluating, exclusive, exclusively, lock_of, note_training
from nbtools.models.making import new_gpt2, train_tokenizer

__all__ = [
    "LanguageModel",
    "ModelFacts",
    "Turns",
    "evaluating",
    "exclusive",
    "exclusively",
    "inspect_model",
    "load_model",
    "locate",
    "lock_of",
    "new_gpt2",
    "note_training",
    "parameter_table",
    "save_model",
    "train_tokenizer",
]
