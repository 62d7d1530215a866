"""Decoding: greedy, sampling and beams, with draws that can be replayed; our own forward pass for GPT-2 and Llama models on a CPU."""

from nbtools.generation.decoder import BF16_GAP, release
from nbtools.generation.decoding import PromptRepetition, SeededDraw
from nbtools.generation.distribution import NextTokens, next_logits, next_tokens
from nbtools.generation.params import SamplingParams
from nbtools.generation.texts import decoder_name, generate, stream
from nbtools.generation.tree import ROOT, Node, TextTree, uniforms

__all__ = [
    "BF16_GAP",
    "ROOT",
    "NextTokens",
    "Node",
    "PromptRepetition",
    "SamplingParams",
    "SeededDraw",
    "TextTree",
    "decoder_name",
    "generate",
    "next_logits",
    "next_tokens",
    "release",
    "stream",
    "uniforms",
]
