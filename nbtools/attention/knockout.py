"""What a model says when a head is silent, and what each layer would say if it were the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtools.attention.reading import output_projections
from nbtools.attention.trace import check_text
from nbtools.errors import InputError
from nbtools.models import evaluating, exclusively
from nbtools.runtime import progress
from nbtools.tokens import id_texts

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

BATCH_TOKENS = 4_096  # read at once: rows with different heads silent, each as long as the text

Heads = Sequence[tuple[int, int]]  # (layer, head), from 0


@exclusively
def knock_out(lm: LanguageModel, text: str, silenced: Sequence[Heads], words: Sequence[int]) -> np.ndarray:
    """The log-probability of `words` as next tokens after `text`, with some heads silent: float64 [len(silenced), len(words)], nats.

    silenced  one set of heads a row; an empty set changes nothing
    words     token ids

    A head is silenced where it is still apart from the others: its part of the input of the output projection is set to zero. (After the
    projection the heads are summed.) All rows are read in batches. Raises InputError for a head that does not exist.
    """
    import torch

    config = lm.model.config
    for layer, head in (one for heads in silenced for one in heads):
        if not (0 <= layer < config.num_hidden_layers and 0 <= head < config.num_attention_heads):
            raise InputError(
                f"There is no head {head} in layer {layer}.",
                f"Layers are 0 to {config.num_hidden_layers - 1}, heads 0 to {config.num_attention_heads - 1}.",
            )
    ids = _ids(lm, text)
    rows = max(1, BATCH_TOKENS // len(ids))
    found = []
    for begin in progress(range(0, len(silenced), rows), "silencing heads", unit="batch"):
        part = silenced[begin : begin + rows]
        with _silent(lm, part), evaluating(lm.model), torch.inference_mode():
            logits = lm.model(torch.tensor([ids] * len(part), device=lm.device), use_cache=False, logits_to_keep=1).logits[:, -1]
        found.append(logits.double().log_softmax(-1)[:, list(words)].cpu().numpy())
    return np.concatenate(found)


def knock_out_each(lm: LanguageModel, text: str, words: Sequence[int]) -> np.ndarray:
    """By how much the log-probability of `words` changes when each head in turn is silent: float64 [layers, heads, words], nats."""
    config = lm.model.config
    shape = (config.num_hidden_layers, config.num_attention_heads)
    alone: list[Heads] = [[(layer, head)] for layer in range(shape[0]) for head in range(shape[1])]
    found = knock_out(lm, text, [[], *alone], words)
    return (found[1:] - found[0]).reshape(*shape, len(words))


@contextmanager
def _silent(lm: LanguageModel, silenced: Sequence[Heads]) -> Iterator[None]:
    """Within it, row r of a batch is read without the heads silenced[r]."""
    import torch

    size = lm.model.config.num_attention_heads
    hooks = []
    for layer, projection in enumerate(output_projections(lm)):
        keep = torch.ones(len(silenced), size)
        for row, heads in enumerate(silenced):
            for at, head in heads:
                if at == layer:
                    keep[row, head] = 0
        if bool(keep.all()):
            continue

        def mute(module: Any, inputs: Any, keep: Any = keep) -> Any:
            (mixed,) = inputs
            apart = mixed.unflatten(-1, (size, -1)) * keep.to(mixed)[:, None, :, None]
            return (apart.flatten(-2),)

        hooks.append(projection.register_forward_pre_hook(mute))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Lens:
    """What each layer would say next, had the model ended there.

    texts, probabilities  [layers + 1][top]: the likeliest tokens of the embedding (first row) and of the stream after each layer; the
                          last row is the model's own answer
    """

    texts: list[list[str]]
    probabilities: np.ndarray


def logit_lens(lm: LanguageModel, text: str, place: int = -1, top: int = 5) -> Lens:
    """The output layer applied to the residual stream after every layer, at token `place` (nostalgebraist, 2020).

    The final norm is applied first, as the model does at its end. Raises InputError for a place that the text does not have.
    """
    import torch

    ids = _ids(lm, text)
    if not -len(ids) <= place < len(ids):
        raise InputError(f"The text has {len(ids)} tokens, so none is number {place}.", f"Count from 0 to {len(ids) - 1}.")
    with evaluating(lm.model), torch.inference_mode():
        given = lm.model(torch.tensor([ids], device=lm.device), use_cache=False, output_hidden_states=True)
        stream = torch.stack([one[0, place] for one in given.hidden_states[:-1]])
        norm = getattr(lm.model.base_model, "ln_f", None) or getattr(lm.model.base_model, "norm", None) or torch.nn.Identity()
        logits = lm.model.get_output_embeddings()(norm(stream))
        logits = torch.cat([logits, given.logits[0, place][None]])  # the library's last state has been through the norm already
    best = logits.double().softmax(-1).topk(top)
    texts = [id_texts(lm.tokenizer, row) for row in best.indices.tolist()]
    return Lens(texts, best.values.cpu().numpy())


def _ids(lm: LanguageModel, text: str) -> list[int]:
    text = check_text(lm, text)
    return list(lm.tokenizer(text, add_special_tokens=False)["input_ids"])
