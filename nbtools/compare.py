"""Compare two models: tokens that gained probability, changes in attention, and generated texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbtools.attention import trace_attention
from nbtools.errors import InputError
from nbtools.generation import SamplingParams, generate, next_logits
from nbtools.models import LanguageModel
from nbtools.texts import check_texts
from nbtools.tokens import id_texts, visible
from nbtools.values import checked


@dataclass(frozen=True)
class Shift:
    """A candidate for the next token, with its probability under each model."""

    text: str
    """The token, with visible spaces."""
    before: float
    """Probability under the first model."""
    after: float
    """Probability under the second model."""

    @property
    def change(self) -> float:
        """Change in log-probability, in nats."""
        return float(np.log(self.after) - np.log(self.before))


@checked(count=(1, 100_000), floor=(0.0, 1.0))
def top_gains(base: LanguageModel, tuned: LanguageModel, prompt: str, count: int = 10, floor: float = 1e-3) -> list[Shift]:
    """Return the next tokens after `prompt` whose log-probability rose most from `base` to `tuned`.

    base    the first model
    tuned   the second model, with the same tokenizer
    prompt  the text before the token
    count   maximum number of tokens to return
    floor   minimum probability in at least one of the models; it excludes tokens whose probability stays negligible

    Raises InputError for models with different tokenizers.
    """
    _same_tokens(base, tuned)
    p, q = (next_logits(lm, prompt).double().softmax(-1).numpy() for lm in (base, tuned))
    candidates = np.flatnonzero(np.maximum(p, q) >= floor)
    rising = candidates[np.argsort(np.log(p[candidates]) - np.log(q[candidates]), kind="stable")][:count]
    texts = id_texts(base.tokenizer, rising.tolist())
    return [Shift(visible(text), float(p[token]), float(q[token])) for text, token in zip(texts, rising, strict=True)]


def attention_shift(base: LanguageModel, tuned: LanguageModel, text: str) -> np.ndarray:
    """Return the Jensen-Shannon divergence (Lin, 1991) between two models' attention weights: float64 [layers, heads], in bits.

    base   the first model
    tuned  the second model, with the same tokenizer
    text   the text on which both are run

    0 means equal weights, 1 disjoint weights. The divergence is averaged over the tokens of `text` except the first, which can only attend
    to itself.

    Raises InputError for a text of a single token and for models with different tokenizers.
    """
    _same_tokens(base, tuned)
    p, q = (trace_attention(lm, text).weights.astype(np.float64)[:, :, 1:] for lm in (base, tuned))
    if p.shape[2] == 0:
        raise InputError("The text is a single token, which can only attend to itself.", "Give a longer text.")
    middle = (p + q) / 2
    return (_entropy(middle) - (_entropy(p) + _entropy(q)) / 2).mean(axis=-1)


def _entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy over the last axis, in bits, with 0 log 0 = 0."""
    return -(weights * np.log2(np.where(weights > 0, weights, 1.0))).sum(axis=-1)


def sample_pairs(base: LanguageModel, tuned: LanguageModel, prompts: Sequence[str], **sampling: Any) -> list[dict[str, Any]]:
    """Generate a text from each prompt with both models, with the same sampling parameters and seed.

    base      the first model
    tuned     the second model
    prompts   the prompts
    sampling  fields of `nbtools.generation.SamplingParams`, except num_samples

    Returns one dict per prompt with the keys prompt, before, after, seed and decoding.

    Raises InputError for prompts that are not strings, an unknown option or an invalid value.
    """
    prompts = check_texts(prompts, "prompts")
    params = SamplingParams.from_options("sample_pairs", sampling, without=("num_samples",))
    texts = [generate(lm, prompts, **sampling) for lm in (base, tuned)]
    return [
        {"prompt": prompt, "before": before, "after": after, "seed": params.seed, "decoding": params.describe()}
        for prompt, before, after in zip(prompts, *texts, strict=True)
    ]


def _same_tokens(base: LanguageModel, tuned: LanguageModel) -> None:
    if base.tokenizer.get_vocab() != tuned.tokenizer.get_vocab():
        raise InputError(f"{base.name} and {tuned.name} have different tokens.", "Compare a model with one that was tuned from it.")
