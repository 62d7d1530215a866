"""The exact distribution of the next token, over the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.generation.decoding import Decoding
from nbtools.generation.prompts import check_prompts, encode
from nbtools.models import evaluating
from nbtools.tokens import id_texts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nbtools.models import LanguageModel


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
    import torch

    ids = encode(lm, check_prompts([prompt]), 1, None)
    with evaluating(lm.model), torch.inference_mode():
        return lm.model(torch.tensor(ids, device=lm.device), use_cache=False).logits[0, -1].float().cpu()


def next_tokens(lm: LanguageModel, prompt: str, **decoding: Any) -> NextTokens:
    """The distribution from which the token after `prompt` is drawn, after transformers' own warpers for `decoding`."""
    import torch

    logits = next_logits(lm, prompt)
    no_ids = torch.empty(1, 0, dtype=torch.long)
    warped = Decoding(**decoding).warpers()(no_ids, logits[None])[0]  # type: ignore[arg-type]
    probabilities, order = warped.double().softmax(-1).sort(descending=True, stable=True)
    return NextTokens(order.numpy(), probabilities.numpy(), lm)
