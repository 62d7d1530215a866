"""The distribution of the next token of a text tree, as the views show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbtools.generation import SamplingParams, TextTree
from nbtools.generation.sampling import sample_inverse_cdf
from nbtools.models import LanguageModel
from nbtools.tokens import id_texts, visible

NAMED_TOKENS = 256
"""Likeliest next tokens whose texts are sent to the browser."""


def next_token(tree: TextTree, node: int, params: SamplingParams, uniforms: list[float]) -> dict[str, Any]:
    """What a view needs to show the token after `node`; empty where the context is full.

    next    the token's depth in the tree, the ids before it (for the repetition penalty), and the texts of its likeliest candidates and of
            the token that the random number selects
    logits  float32 [vocabulary], as bytes
    """
    ids = tree.ids(node)
    if len(ids) >= tree.lm.context:
        return {}
    logits = tree.logits(ids)
    depth = len(ids) - len(tree.prompt_ids)
    drawn = sample_inverse_cdf(tree.distribution(ids, params).probabilities.log(), uniforms[depth])
    named = sorted({*logits.topk(min(NAMED_TOKENS, len(logits))).indices.tolist(), drawn})
    texts = dict(zip(map(str, named), id_texts(tree.lm.tokenizer, named), strict=True))
    return {"next": {"depth": depth, "history": sorted(set(ids)), "texts": texts}, "logits": logits.numpy().tobytes()}


def top_tokens(tree: TextTree, params: SamplingParams, count: int) -> list[tuple[str, float]]:
    """The likeliest tokens right after the prompt, with their probabilities."""
    top = tree.distribution(tree.prompt_ids, params).probabilities.topk(count)
    texts = id_texts(tree.lm.tokenizer, top.indices.tolist())
    return [(visible(text), share) for text, share in zip(texts, top.values.tolist(), strict=True) if share > 0]


def parting(before: Iterable[Any], after: Iterable[Any]) -> int:
    """The index of the first token at which two sequences differ; -1 if they do not."""
    same = (one == other for one, other in zip(before, after, strict=False))
    return next((index for index, equal in enumerate(same) if not equal), -1)


def describe_model(lm: LanguageModel) -> str:
    """Name, class, size, context and vocabulary of a model, as a title."""
    vocabulary = lm.model.config.vocab_size
    size = f"{lm.parameters / 1e6:,.0f} million parameters, context {lm.context:,}, {vocabulary:,} tokens"
    return f"{lm.name}: {type(lm.model).__name__}, {size}"
