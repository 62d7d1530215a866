"""The microscope: one prompt through a model and through a model that was fine-tuned from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from nbtools.attention import AttentionTrace, trace_attention
from nbtools.compare import attention_shift, top_gains
from nbtools.errors import InputError
from nbtools.generation import SamplingParams, continue_ids
from nbtools.generation.texts import encode
from nbtools.models import LanguageModel
from nbtools.plots.compare import draw_top_gains
from nbtools.texts import check_texts, repair
from nbtools.widgets.attention_explorer import triangles
from nbtools.widgets.live import TEMPLATES, LiveView
from nbtools.widgets.requests import Request

MOST_CHANGES = 12
"""Tokens that are shown in each direction."""


class Microscope(LiveView):
    """What fine-tuning changed at one prompt: next tokens, attention, and texts sampled with the same random numbers.

    base, tuned     the two models; they must share a tokenizer
    prompt          the beginning of the texts
    max_new_tokens, temperature, top_k, top_p, seed   of the two texts, as for `nbtools.generate`

    Raises InputError for models with different tokenizers, an empty prompt or an invalid value.
    """

    view: ClassVar[str] = "microscope"
    modules: ClassVar[tuple[str, ...]] = ("matrix",)
    holds: ClassVar[tuple[str, ...]] = ("base", "tuned", "_traces")

    def __init__(
        self,
        base: LanguageModel,
        tuned: LanguageModel,
        prompt: str = "The movie was",
        *,
        max_new_tokens: int = 40,
        temperature: float = 0.7,
        top_k: int | None = 50,
        top_p: float | None = 0.95,
        seed: int = 0,
    ) -> None:
        self.base, self.tuned = base, tuned
        self.params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
        super().__init__(shown=self._compare(prompt, self.params.seed))

    def on_compare(self, request: Request) -> dict[str, Any]:
        """Another prompt, or another seed."""
        prompt = repair(str(request["prompt"]))
        if not prompt:
            raise InputError("The prompt is empty.", "Write the beginning of a text.")
        return self._compare(prompt, int(request["seed"]))

    def on_head(self, request: Request) -> dict[str, Any]:
        """Another head, before and after."""
        layer, head = int(request["layer"]), int(request["head"])
        self._traces[0].check_head(layer, head)
        return self._head(layer, head)

    def _compare(self, prompt: str, seed: int) -> dict[str, Any]:
        changes, texts = self._changes(prompt), self._texts(prompt, seed)
        self._traces: list[AttentionTrace] = [trace_attention(lm, prompt) for lm in (self.base, self.tuned)]
        several = len(self._traces[0].ids) > 1  # a single token can attend to nothing but itself
        shift = attention_shift(self.base, self.tuned, prompt) if several else np.zeros(self._traces[0].weights.shape[:2])
        layer, head = (int(index) for index in np.unravel_index(shift.argmax(), shift.shape))
        self.prompt, self.seed = prompt, seed
        return {
            "title": self.title,
            "prompt": prompt,
            "seed": seed,
            "changes": changes,
            "tokens": self._traces[0].tokens,
            "shift": shift.round(5).tolist(),
            "texts": texts,
            **self._head(layer, head),
        }

    @property
    def title(self) -> str:
        if self.base.name == self.tuned.name:
            return f"{self.base.name}, before and after"
        return f"{self.base.name} and {self.tuned.name}"

    def _changes(self, prompt: str) -> list[list[Any]]:
        """Rows of text, probability before and after, and change in nats, from the largest gain to the largest loss."""
        gains = top_gains(self.base, self.tuned, prompt, MOST_CHANGES)
        losses = top_gains(self.tuned, self.base, prompt, MOST_CHANGES)
        rows: list[list[Any]] = [[one.text, one.before, one.after, one.change] for one in gains if one.change > 0]
        return rows + [[one.text, one.after, one.before, -one.change] for one in reversed(losses) if one.change > 0]

    def _head(self, layer: int, head: int) -> dict[str, Any]:
        both = np.stack([trace.weights[layer, head] for trace in self._traces])
        return {"layer": layer, "head": head, "triangles": triangles(both)}

    def _texts(self, prompt: str, seed: int) -> dict[str, Any]:
        params = replace(self.params, seed=seed)
        [ids] = encode(self.base, check_texts([prompt], "prompts"), params.max_new_tokens, None)
        before, after = ([new.text for new in continue_ids(lm, ids, params)] for lm in (self.base, self.tuned))
        return {"before": before, "after": after, "decoding": self.params.describe()}

    def static_html(self) -> str:
        texts = self.shown["texts"]
        return TEMPLATES.render(
            "microscope.html",
            picture=draw_top_gains(top_gains(self.base, self.tuned, self.prompt), self.prompt),
            texts=[(name, self.prompt + "".join(texts[name])) for name in ("before", "after")],
            seed=self.seed,
            decoding=texts["decoding"],
        )

    def describe(self) -> str:
        chosen = {name: getattr(self.params, name) for name in ("max_new_tokens", "temperature", "top_k", "top_p")}
        values = ", ".join(f"{name}={value!r}" for name, value in {**chosen, "seed": self.seed}.items())
        return f"Microscope({self.base.name!r}, {self.tuned.name!r}, {self.prompt!r}, {values})"
