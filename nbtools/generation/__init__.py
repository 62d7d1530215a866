"""Decoding: greedy, sampling and beam search, the exact distribution of the next token, with random numbers that can be repeated."""

from nbtools.accel import BF16_GAP, release
from nbtools.generation.continuation import NewToken, continue_ids, logits_after
from nbtools.generation.distribution import NextTokens, next_logits, next_tokens
from nbtools.generation.engine import decoder_name
from nbtools.generation.sampling import Sampler, SamplingParams, sample_inverse_cdf
from nbtools.generation.texts import generate, stream

__all__ = [
    "BF16_GAP",
    "NewToken",
    "NextTokens",
    "Sampler",
    "SamplingParams",
    "continue_ids",
    "decoder_name",
    "generate",
    "logits_after",
    "next_logits",
    "next_tokens",
    "release",
    "sample_inverse_cdf",
    "stream",
]
