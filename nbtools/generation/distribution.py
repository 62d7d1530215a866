"""The exact distribution of the next token, over the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.generation.params import SamplingParams
from nbtools.generation.prompts import check_prompts, encode
from nbtools.models import evaluating
from nbtools.tokens import id_texts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nbtools.models import LanguageModel

NOT_OF_ONE_TOKEN = ("num_beams", "max_new_tokens", "max_length", "seed", "num_samples")


@dataclass(frozen=True)
class NextTokens:
    """The exact distribution of the next token over the whole vocabulary, likeliest first.

    ids  int64 [vocabulary]; probabilities  float64 [vocabulary], after the warpers, sum 1; `texts(n)` the n leaders' texts
    """

    ids: np.ndarray
    probabilities: np.ndarray
    lm: LanguageModel

    def texts(self, count: int) -> list[str]:
        return id_texts(self.lm.tokenizer, self.ids[:count].tolist())

    @property
    def entropy(self) -> float:
        """In bits: log2 of the number of equally likely tokens that would be as uncertain."""
        import numpy as np

        some = self.probabilities[self.probabilities > 0]
        return float(-(some * np.log2(some)).sum())


def next_logits(lm: LanguageModel, prompt: str) -> torch.Tensor:
    """The logits of the token after `prompt`: float32 [vocabulary]."""
    return _ids_and_logits(lm, prompt)[1]


def next_tokens(lm: LanguageModel, prompt: str, **sampling: Any) -> NextTokens:
    """The distribution from which the token after `prompt` is drawn.

    sampling  do_sample, temperature, top_k, top_p, min_p, repetition_penalty, as in `SamplingParams`. Without any, the model's own
              distribution; for greedy decoding (temperature=0 or do_sample=False) all probability is on the likeliest token

    Applied are transformers' own processors, in the order of its `generate`. Raises InputError for an unknown name or an invalid value.
    """
    import torch

    params = SamplingParams.from_options("next_tokens", sampling, without=NOT_OF_ONE_TOKEN)
    ids, logits = _ids_and_logits(lm, prompt)
    held: Any = torch.tensor([ids])
    scores = params.penalized(held, logits[None])
    if params.explicitly_greedy:
        scores = torch.full_like(scores, -torch.inf).scatter_(1, scores.argmax(-1, keepdim=True), 0.0)
    scores = params.warpers()(held, scores)[0]  # type: ignore[arg-type]
    probabilities, order = scores.double().softmax(-1).sort(descending=True, stable=True)
    return NextTokens(order.numpy(), probabilities.numpy(), lm)


def _ids_and_logits(lm: LanguageModel, prompt: str) -> tuple[list[int], torch.Tensor]:
    import torch

    [ids] = encode(lm, check_prompts([prompt]), 1, None)
    with evaluating(lm.model), torch.inference_mode():
        return ids, lm.model(torch.tensor([ids], device=lm.device), use_cache=False).logits[0, -1].float().cpu()
