"""One interface over a model that reads rows of tokens, prefill and step, and two implementations: our decoder's and transformers'."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from nbtools.accel import Decoder, decoder_for, unsupported_reason
from nbtools.models import Turns, evaluating, exclusive, exclusively
from nbtools.system import choose_dtype
from nbtools.values import Text, checked

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel

DTYPES = Text(("fp32", "bf16", "auto"))


class Engine(ABC):
    """Reads rows of tokens with one model and keeps their keys and values. Between two calls other threads may use the model.

    Both methods raise ModelError when the model has been trained since the engine was made.
    """

    @abstractmethod
    def prefill(self, rows: list[list[int]], capacity: int) -> torch.Tensor:
        """Read every row; equal rows are read once and cloned. Returns the logits after each, float32 [rows, vocabulary].

        capacity  the most tokens that a row will have
        """

    @abstractmethod
    def step(self, rows: list[int], tokens: list[int]) -> torch.Tensor:
        """Append one token to each of the rows numbered `rows`; the others have ended. Returns logits as `prefill` does."""


class DecoderEngine(Engine):
    """Engine that uses the decoder of `nbtools.accel`, without padding."""

    def __init__(self, lm: LanguageModel, decoder: Decoder) -> None:
        self.turns, self.decoder = Turns(lm), decoder

    def prefill(self, rows: list[list[int]], capacity: int) -> torch.Tensor:
        self.cache = self.decoder.new_cache(len(rows), capacity)
        sources = [rows.index(row) for row in rows]  # of each row, the first that is equal
        read = sorted(set(sources))
        with self.turns.turn():
            logits = self.decoder.read([rows[row] for row in read], read, self.cache)
        for row, source in enumerate(sources):
            if row != source:
                self.cache.copy(source, row)
        return logits[[read.index(source) for source in sources]]

    def step(self, rows: list[int], tokens: list[int]) -> torch.Tensor:
        with self.turns.turn():
            return self.decoder.read([[token] for token in tokens], rows, self.cache)


class TransformersEngine(Engine):
    """Engine that uses the model's forward method, for any causal model and device. Shorter rows are padded on the left.

    In another number format than the model's the arithmetic is autocast, so the weights are not copied. A model that returns no
    key-value cache reads all tokens again in each step.
    """

    def __init__(self, lm: LanguageModel, dtype: torch.dtype) -> None:
        self.lm, self.dtype, self.turns = lm, dtype, Turns(lm)
        plain = getattr(lm.model, "get_base_model", lambda: lm.model)()  # peft's wrapper takes any keyword
        self.accepted = inspect.signature(type(plain).forward).parameters

    def prefill(self, rows: list[list[int]], capacity: int) -> torch.Tensor:
        import torch

        unique = list(dict.fromkeys(map(tuple, rows)))
        longest = max(map(len, unique))
        padding = [longest - len(row) for row in unique]
        pad, device = self.lm.document_id, self.lm.device
        self.ids = torch.tensor([[pad] * count + [*row] for count, row in zip(padding, unique, strict=True)], device=device)
        self.mask = torch.tensor([[0] * count + [1] * (longest - count) for count in padding], device=device)
        self.cache: Any = None
        logits = self._forward()
        sources = [unique.index(tuple(row)) for row in rows]
        self._select(sources)
        self.rows = list(range(len(rows)))
        return logits[sources]

    def step(self, rows: list[int], tokens: list[int]) -> torch.Tensor:
        import torch

        self._select([self.rows.index(row) for row in rows])
        self.rows = list(rows)
        new = torch.tensor(tokens, device=self.ids.device)[:, None]
        self.ids, self.mask = torch.cat([self.ids, new], 1), torch.cat([self.mask, torch.ones_like(new)], 1)
        return self._forward()

    def _select(self, indices: list[int]) -> None:
        """Keep these of the cache's rows, in this order; one that is named twice is cloned."""
        import torch

        if indices == list(range(len(self.ids))):
            return
        index = torch.tensor(indices, device=self.ids.device)
        self.ids, self.mask = self.ids[index], self.mask[index]
        if self.cache is not None:
            self.cache.reorder_cache(index)

    def _forward(self) -> torch.Tensor:
        import torch

        new = self.ids.shape[1] if self.cache is None else 1
        inputs = {
            "input_ids": self.ids[:, -new:],
            "attention_mask": self.mask,
            "position_ids": (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -new:],
            "past_key_values": self.cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        cast = nullcontext() if self.dtype == self.lm.model.dtype else torch.autocast(self.lm.device.type, self.dtype)
        with self.turns.turn(), evaluating(self.lm.model), torch.inference_mode(), cast:
            output = self.lm.model(**{name: value for name, value in inputs.items() if name in self.accepted})
        self.cache = getattr(output, "past_key_values", None)
        return output.logits[:, -1].float()


def make_engine(lm: LanguageModel, dtype: torch.dtype | None = None) -> Engine:
    """The fastest engine for `lm` in the number format `dtype` (None: the model's own)."""
    dtype = dtype or lm.model.dtype
    with exclusive(lm.model):
        decoder = decoder_for(lm.model, dtype)
        return TransformersEngine(lm, dtype) if decoder is None else DecoderEngine(lm, decoder)


def number_format(lm: LanguageModel, name: str | None) -> torch.dtype:
    """Return the number format for the argument `dtype` of `generate`. Raises InputError for an unknown name."""
    import torch

    if name is None:
        return lm.model.dtype
    if DTYPES("dtype", name) == "auto":
        return choose_dtype().torch_dtype
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


@checked()
@exclusively
def decoder_name(lm: LanguageModel, dtype: str | None = None, *, rows: int = 1, num_beams: int = 1) -> str:
    """Which code decodes `rows` texts of this model at once, and in which number format, in words for a report."""
    number = number_format(lm, dtype)
    name = str(number).removeprefix("torch.")
    if num_beams > 1:
        return f"transformers, {name} (beam search)"
    decoder = decoder_for(lm.model, number)
    if decoder is None:
        return f"transformers, {name} ({unsupported_reason(lm.model)})"
    return f"nbtools {'compiled kernel' if decoder.uses_kernel(rows) else 'in PyTorch'}, {name}"
