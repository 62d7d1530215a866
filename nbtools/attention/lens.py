"""The logit lens: what the output layer predicts from the residual stream after each layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nbtools.attention.trace import check_text
from nbtools.errors import InputError
from nbtools.models import LanguageModel, evaluating
from nbtools.tokens import id_texts


@dataclass(frozen=True)
class Lens:
    """The likeliest next tokens after each layer. The first row is the embedding's, the last is the model's own prediction."""

    texts: list[list[str]]
    """[layers + 1][top]"""
    probabilities: np.ndarray
    """float64 [layers + 1, top]"""


def logit_lens(lm: LanguageModel, text: str, place: int = -1, top: int = 5) -> Lens:
    """The output layer applied to the residual stream after every layer (nostalgebraist, 2020).

    lm     the model
    text   the input
    place  the index of the token at which the next one is predicted; negative from the end
    top    how many tokens of each layer are returned

    The final norm is applied first, as the model does at its end. Raises InputError for an index that the text does not have.
    """
    _, ids = check_text(lm, text)
    if not -len(ids) <= place < len(ids):
        raise InputError(f"The text has {len(ids)} tokens, so none is number {place}.", f"Count from 0 to {len(ids) - 1}.")
    with evaluating(lm.model), torch.inference_mode():
        output = lm.model(torch.tensor([ids], device=lm.device), use_cache=False, output_hidden_states=True)
        stream = torch.stack([state[0, place] for state in output.hidden_states[:-1]])
        norm = getattr(lm.model.base_model, "ln_f", None) or getattr(lm.model.base_model, "norm", None) or torch.nn.Identity()
        logits = lm.model.get_output_embeddings()(norm(stream))
        logits = torch.cat([logits, output.logits[0, place][None]])  # the library has applied the norm to its last hidden state already
    best = logits.double().softmax(-1).topk(top)
    texts = [id_texts(lm.tokenizer, row) for row in best.indices.tolist()]
    return Lens(texts, best.values.cpu().numpy())
