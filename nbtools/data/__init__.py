"""Load film reviews or your own texts, clean and split them, tokenize them, and pack them into blocks."""

from nbtools.data.fitness import Fitness, examine_texts
from nbtools.data.own import OwnTexts, load_texts
from nbtools.data.packing import Packed, Tokens, pack, tokenize
from nbtools.data.personal import describe_personal_data, find_personal_data
from nbtools.data.reviews import Reviews, load_reviews

__all__ = [
    "Fitness",
    "OwnTexts",
    "Packed",
    "Reviews",
    "Tokens",
    "describe_personal_data",
    "examine_texts",
    "find_personal_data",
    "load_reviews",
    "load_texts",
    "pack",
    "tokenize",
]
