"""The reviews: read, cleaned, split, tokenized, packed."""

from nbtools.data.packing import Packed, Tokens, pack, texts_of, tokenize
from nbtools.data.reviews import Reviews, load_reviews

__all__ = ["Packed", "Reviews", "Tokens", "load_reviews", "pack", "texts_of", "tokenize"]
