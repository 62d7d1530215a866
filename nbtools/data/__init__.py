"""The reviews: read, cleaned, split, tokenized, packed. And plain text to pretrain on."""

from nbtools.data.corpus import Document, read_corpus, split_corpus
from nbtools.data.packing import Packed, Tokens, pack, texts_of, tokenize
from nbtools.data.reviews import Reviews, load_reviews

__all__ = ["Document", "Packed", "Reviews", "Tokens", "load_reviews", "pack", "read_corpus", "split_corpus", "texts_of", "tokenize"]
