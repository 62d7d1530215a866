"""Decoding: greedy, sampling and beam search, the exact distribution of the next token, and trees of texts, with draws that replay."""

from nbtools.accel import BF16_GAP, release
from nbtools.generation.distribution import NextTokens, next_logits, next_tokens
from nbtools.generation.engine import decoder_name
from nbtools.generation.sampling import Sampler, SamplingParams, sample_inverse_cdf, uniforms
from nbtools.generation.texts import generate, stream
from nbtools.generation.tree import ROOT, Node, TextTree

__all__ = [
    "BF16_GAP",
    "ROOT",
    "NextTokens",
    "Node",
    "Sampler",
    "SamplingParams",
    "TextTree",
    "decoder_name",
    "generate",
    "next_logits",
    "next_tokens",
    "release",
    "sample_inverse_cdf",
    "stream",
    "uniforms",
]
