"""The microscope: one prompt through a model and what was tuned from it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import traitlets

from nbtools.attention import AttentionTrace, trace_attention
from nbtools.compare import attention_shift, top_gains
from nbtools.errors import InputError
from nbtools.generation import ROOT, TextTree
from nbtools.generation.params import SamplingParams
from nbtools.plots.compare import draw_top_gains
from nbtools.plots.table import as_text
from nbtools.texts import repair
from nbtools.widgets.attention_explorer import triangles
from nbtools.widgets.live import LiveView

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

SHOWN = 12  # tokens in each direction


class Microscope(LiveView):
    """What a fine-tuning changed at one prompt: next tokens, attention, and texts thrown with the same dice.

    base, tuned     the two models; they must share a tokenizer, or InputError is raised
    max_new_tokens, temperature, top_k, top_p, seed   of the two texts
    """

    view: ClassVar[str] = "microscope"
    parts: ClassVar[tuple[str, ...]] = ("matrix",)
    holds: ClassVar[tuple[str, ...]] = ("base", "tuned", "_traces")

    title = traitlets.Unicode().tag(sync=True)
    prompt = traitlets.Unicode().tag(sync=True)
    likelier: traitlets.List[Any] = traitlets.List().tag(sync=True)  # text, before, after, change in nats; risen first
    tokens: traitlets.List[Any] = traitlets.List().tag(sync=True)
    shift: traitlets.List[Any] = traitlets.List().tag(sync=True)  # [layers][heads], bits
    pair = traitlets.Dict().tag(sync=True)  # the head in sight
    triangles = traitlets.Bytes().tag(sync=True)  # its two matrices, base and tuned
    texts = traitlets.Dict().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

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
        super().__init__(**self._seen(prompt, self.params.seed))

    def _seen(self, prompt: str, seed: int) -> dict[str, Any]:
        rising = top_gains(self.base, self.tuned, prompt, SHOWN)
        falling = top_gains(self.tuned, self.base, prompt, SHOWN)
        rows = [[one.text, one.before, one.after, one.change] for one in rising if one.change > 0]
        rows += [[one.text, one.after, one.before, -one.change] for one in reversed(falling) if one.change > 0]
        self._traces: list[AttentionTrace] = [trace_attention(lm, prompt) for lm in (self.base, self.tuned)]
        same = self.base.name == self.tuned.name
        many = len(self._traces[0].ids) > 1  # a single token can attend to nothing but itself
        shift = attention_shift(self.base, self.tuned, prompt) if many else np.zeros(self._traces[0].weights.shape[:2])
        layer, head = (int(at) for at in np.unravel_index(shift.argmax(), shift.shape))
        return {
            "title": f"{self.base.name}, before and after" if same else f"{self.base.name} and {self.tuned.name}",
            "prompt": prompt,
            "seed": seed,
            "likelier": rows,
            "tokens": self._traces[0].tokens,
            "shift": shift.round(5).tolist(),
            "texts": self._written(prompt, seed),
            **self._pair(layer, head),
        }

    def _pair(self, layer: int, head: int) -> dict[str, Any]:
        both = np.stack([trace.weights[layer, head] for trace in self._traces])
        return {"pair": {"layer": layer, "head": head}, "triangles": triangles(both)}

    def _written(self, prompt: str, seed: int) -> dict[str, Any]:
        made = []
        for lm in (self.base, self.tuned):
            count = self.params.max_new_tokens
            made.append(list(TextTree(lm, prompt, count).grow(ROOT, count, seed, self.params)))
        before, after = made
        same = (one.token == other.token for one, other in zip(before, after, strict=False))
        parting = next((place for place, equal in enumerate(same) if not equal), -1)
        return {
            "before": [one.text for one in before], "after": [one.text for one in after], "parting": parting,
            "decoding": self.params.describe(),
        }  # fmt: skip

    def on_look(self, content: dict[str, Any]) -> None:
        prompt = repair(str(content["prompt"]))
        if not prompt:
            raise InputError("The prompt is empty.", "Write the beginning of a text.")
        self._show(self._seen(prompt, int(content["seed"])))

    def on_head(self, content: dict[str, Any]) -> None:
        layer, head = int(content["layer"]), int(content["head"])
        layers, heads = self._traces[0].layers, self._traces[0].heads
        if not (0 <= layer < layers and 0 <= head < heads):
            raise InputError(f"There is no layer {layer}, head {head}.", f"There are {layers} layers of {heads} heads.")
        self._show(self._pair(layer, head))

    def _show(self, values: dict[str, Any]) -> None:
        with self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    def still(self) -> str:
        picture = draw_top_gains(top_gains(self.base, self.tuned, self.prompt), self.prompt)
        data = base64.b64encode(picture.png()).decode("ascii")
        rows = "".join(
            f"<tr><th scope='row' style='text-align:left'>{name}</th><td>{as_text(self.prompt + ''.join(self.texts[name]))}</td></tr>"
            for name in ("before", "after")
        )
        caption = f"the same dice, seed {self.seed}, {self.texts['decoding']}"
        return f'<img alt="{picture.alt}" src="data:image/png;base64,{data}"><table><caption>{caption}</caption>{rows}</table>'

    def __repr__(self) -> str:
        return f"Microscope({self.title}, {self.prompt!r}, seed={self.seed})"
