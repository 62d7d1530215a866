"""The exact distribution of the next token, over the complete vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nbtools.generation.sampling import Sampler, SamplingParams
from nbtools.generation.texts import encode
from nbtools.models import LanguageModel, evaluating
from nbtools.texts import check_texts
from nbtools.tokens import id_texts

NOT_OF_ONE_TOKEN = ("num_beams", "max_new_tokens", "max_length", "seed", "num_samples")


@dataclass(frozen=True)
class NextTokens:
    """The exact distribution of the next token over the complete vocabulary, likeliest first."""

    ids: np.ndarray
    """int64 [vocabulary]"""
    probabilities: np.ndarray
    """float64 [vocabulary], after the warpers; their sum is 1."""
    lm: LanguageModel

    def texts(self, count: int) -> list[str]:
        """Return the texts of the `count` most probable tokens."""
        return id_texts(self.lm.tokenizer, self.ids[:count].tolist())

    @property
    def entropy(self) -> float:
        """In bits: log2 of the number of equally likely tokens that would be as uncertain."""
        possible = self.probabilities[self.probabilities > 0]
        return float(-(possible * np.log2(possible)).sum())


def next_logits(lm: LanguageModel, prompt: str) -> torch.Tensor:
    """Return the logits of the token after `prompt`: float32 [vocabulary]."""
    return _ids_and_logits(lm, prompt)[1]


def next_tokens(lm: LanguageModel, prompt: str, **sampling: Any) -> NextTokens:
    """The distribution from which the token after `prompt` is drawn.

    sampling  do_sample, temperature, top_k, top_p, min_p, repetition_penalty, as in `SamplingParams`. Without any, the model's own
              distribution; for greedy decoding (temperature=0 or do_sample=False) all probability is on the likeliest token

    Uses transformers' own processors, in the order of its `generate`. Raises InputError for an unknown name or an invalid value.
    """
    params = SamplingParams.from_options("next_tokens", sampling, without=NOT_OF_ONE_TOKEN)
    ids, logits = _ids_and_logits(lm, prompt)
    [distribution] = Sampler(params)(logits[None], [ids])
    probabilities = distribution.probabilities
    if params.explicitly_greedy:
        probabilities = torch.zeros_like(probabilities).index_fill_(0, torch.tensor(distribution.token(None)), 1.0)
    ordered, order = probabilities.sort(descending=True, stable=True)
    return NextTokens(order.numpy(), ordered.numpy(), lm)


def _ids_and_logits(lm: LanguageModel, prompt: str) -> tuple[list[int], torch.Tensor]:
    [ids] = encode(lm, check_texts([prompt], "prompts"), 1, None)
    with evaluating(lm.model), torch.inference_mode():
        return ids, lm.model(torch.tensor([ids], device=lm.device), use_cache=False).logits[0, -1].float().cpu()
