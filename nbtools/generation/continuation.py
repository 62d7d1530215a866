"""A continuation token by token, with what else each token could have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from nbtools.errors import InputError
from nbtools.generation.engine import Continuation, decode, make_engine
from nbtools.generation.sampling import Distribution, SamplingParams
from nbtools.generation.texts import end_ids
from nbtools.models import LanguageModel
from nbtools.tokens import id_texts

ALTERNATIVES = 8  # likeliest tokens given with each new token


@dataclass(frozen=True)
class NewToken:
    """One token of a continuation."""

    token: int
    text: str
    """The text that the token adds."""
    probability: float
    """Under the parameters that it was chosen with."""
    uniform: float | None
    """The uniform number with which it was sampled; None for greedy decoding."""
    alternatives: list[tuple[int, str, float]]
    """The likeliest tokens under the same parameters, and this one: (id, text, probability)."""


def continue_ids(
    lm: LanguageModel,
    ids: list[int],
    params: SamplingParams,
    *,
    generated: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[NewToken]:
    """Continue `ids` by at most params.max_new_tokens, and yield each token as it is made.

    generated    how many of `ids` were generated with this seed. As many of its random numbers are skipped, so that a text continued in
                 steps is the text of `nbtools.generate` with the same values
    should_stop  called after every token; True ends the continuation

    Ends at an end-of-text token and where the context is full. Raises InputError for beams, which have no token before they end.
    """
    if params.num_beams > 1:
        raise InputError("A beam search knows its text only at the end.", "Leave out num_beams.")
    ends = end_ids(lm)
    room = min(params.max_new_tokens, lm.context - len(ids))
    if room < 1 or (generated and ids[-1] in ends):
        return
    for [step] in decode(make_engine(lm), Continuation([ids], [room], [params.seed], params, ends, depth=generated)):
        yield _new_token(lm, step.distribution, step.token, step.uniform)
        if should_stop is not None and should_stop():
            return


def logits_after(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    """The model's own logits after `ids`: float32 [vocabulary], on the CPU."""
    return make_engine(lm).prefill([ids], len(ids))[0].cpu()


def _new_token(lm: LanguageModel, distribution: Distribution, token: int, uniform: float | None) -> NewToken:
    probabilities = distribution.probabilities
    top = probabilities.topk(min(ALTERNATIVES, len(probabilities)))
    likely = [other for other, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True) if probability > 0]
    shown = likely if token in likely else [*likely, token]
    texts = id_texts(lm.tokenizer, shown)
    alternatives = [(other, text, float(probabilities[other])) for other, text in zip(shown, texts, strict=True)]
    return NewToken(token, texts[shown.index(token)], float(probabilities[token]), uniform, alternatives)
