"""The attention explorer: all heads at a glance, one head in full, any weight as arithmetic, head ablation and the logit lens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from nbtools.attention import Reading, ablate_each_head, logit_lens, read_attention, score_heads
from nbtools.attention.reading import MODES
from nbtools.errors import InputError
from nbtools.generation import next_tokens
from nbtools.models import LanguageModel
from nbtools.plots.attention import draw_heads
from nbtools.texts import repair
from nbtools.tokens import id_texts, visible
from nbtools.values import checked
from nbtools.widgets.live import TEMPLATES, LiveView
from nbtools.widgets.requests import Request

THUMBNAIL = 14
"""Most rows and columns of a head's thumbnail."""
WORDS = 3
"""Likeliest next words that the table of ablations shows if no words are given."""


class AttentionExplorer(LiveView):
    """The attention weights of all heads of a model over a text. Works with GPT-2 and Llama-like models.

    lm     the model
    text   the input, at most as long as the model's context
    mode   how weights are shown first: "raw", "without first", "value-weighted" or "rollout" (`nbtools.attention.Reading.weights`)
    layer  the layer that is shown first, from 0
    head   the head that is shown first, from 0

    The browser gets thumbnails of all heads and the weights of one layer as 8-bit lower triangles, and the exact numbers of a row on
    demand. Raises InputError for a text that is empty or too long, ModelError for a model whose attention cannot be recorded.
    """

    view: ClassVar[str] = "attention_explorer"
    modules: ClassVar[tuple[str, ...]] = ("matrix", "head_grid", "head_matrix", "token_row", "code", "attention_analysis", "matrix_files")
    holds: ClassVar[tuple[str, ...]] = ("lm", "reading")
    private: ClassVar[frozenset[str]] = LiveView.private | {"row", "export"}

    @checked()
    def __init__(self, lm: LanguageModel, text: str, *, mode: str = "raw", layer: int = 0, head: int = 0) -> None:
        if mode not in MODES:
            raise InputError(f"There is no mode called {mode!r}.", f"The modes are: {', '.join(MODES)}.")
        self.lm = lm
        self.reading: Reading = read_attention(lm, text)
        self.reading.trace.check_head(layer, head)
        self.mode, self.layer, self.head = mode, layer, head
        super().__init__(shown={"modes": list(MODES), "scores": {}, **self._overview()})

    @property
    def text(self) -> str:
        return self.reading.trace.text

    @property
    def title(self) -> str:
        trace = self.reading.trace
        return f"{self.lm.name}: {trace.layers} layers of {trace.heads} heads, {len(trace.ids)} tokens"

    def _overview(self) -> dict[str, Any]:
        """What belongs to the text. Results for an earlier text are emptied."""
        trace = self.reading.trace
        return {
            "model": self.lm.name,
            "title": self.title,
            "text": trace.text,
            "tokens": trace.tokens,
            "shape": [trace.layers, trace.heads],
            "thumbnails": thumbnails(trace.weights),
            "cell": {},
            "ablation": {},
            "lens": {},
            **self._matrices(),
        }

    def _matrices(self) -> dict[str, Any]:
        """The weights of the chosen layer: uint8 [heads of the mode, tokens · (tokens + 1) / 2]."""
        packed = triangles(self.reading.weights(self.layer, self.mode))
        return {"layer": self.layer, "head": self.head, "mode": self.mode, "triangles": packed}

    # Requests of the view.

    def on_text(self, request: Request) -> dict[str, Any]:
        """Another text."""
        self.reading = read_attention(self.lm, str(request["text"]))
        return self._overview()

    def on_layer(self, request: Request) -> dict[str, Any]:
        """Another layer, or another mode."""
        layer, head, mode = int(request["layer"]), int(request["head"]), str(request["mode"])
        self.reading.trace.check_head(layer, head)
        self.reading.weights(layer, mode)  # raises for an unknown mode, before anything has changed
        self.layer, self.mode, self.head = layer, mode, head
        return self._matrices()

    def on_head(self, request: Request) -> dict[str, Any]:
        """Another head of the same layer, whose weights the browser has already."""
        self.head = int(request["head"])
        return {"head": self.head}

    def on_row(self, request: Request) -> dict[str, Any]:
        """The exact weights of one row (or of one column) of the matrix that is shown, float32."""
        index, column = int(request["index"]), bool(request.get("column"))
        matrix = self._matrix()
        exact = (matrix[:, index] if column else matrix[index]).astype(np.float32).tobytes()
        key = {"layer": self.layer, "head": self.head, "mode": self.mode, "index": index, "column": column}
        return {"row": key, "exact": exact}

    def on_cell(self, request: Request) -> dict[str, Any]:
        """One weight as arithmetic."""
        row, column = int(request["row"]), int(request["column"])
        found = asdict(self.reading.cell(self.layer, self.head, row, column))
        numbers = {name: value if np.isfinite(value) else None for name, value in found.items()}
        place = {"row": row, "column": column, "layer": self.layer, "head": self.head}
        width = self.reading.queries.shape[-1]
        return {"cell": {**numbers, **place, "width": width}}

    def on_ablate(self, request: Request) -> dict[str, Any]:
        """The change of next words' log-probabilities when each head in turn is ablated."""
        ids = self._word_ids(str(request.get("words", "")))
        change = ablate_each_head(self.lm, self.text, ids)
        words = [visible(word) for word in id_texts(self.lm.tokenizer, ids)]
        return {"ablation": {"words": words, "change": change.round(5).tolist()}}

    def on_lens(self, request: Request) -> dict[str, Any]:
        """The logit lens at one token."""
        position = int(request["position"])
        lens = logit_lens(self.lm, self.text, position)
        texts = [[visible(text) for text in row] for row in lens.texts]
        return {"lens": {"position": position, "texts": texts, "probabilities": lens.probabilities.round(6).tolist()}}

    def on_score(self, request: Request) -> dict[str, Any]:
        """Scores that tell previous-token heads and induction heads."""
        found = score_heads(self.lm, length=min(24, self.lm.context // 2))
        return {"scores": {name: values.round(4).tolist() for name, values in asdict(found).items()}}

    def on_export(self, request: Request) -> dict[str, Any]:
        """All exact weights of the matrix that is shown, float32."""
        return {"matrix": np.ascontiguousarray(self._matrix(), dtype="<f4").tobytes(), "tokens": self.reading.trace.tokens}

    def _matrix(self) -> np.ndarray:
        weights = self.reading.weights(self.layer, self.mode)
        return weights[min(self.head, len(weights) - 1)]

    def _word_ids(self, words: str) -> list[int]:
        """The first token of each word, as it would stand after a space; without words, the likeliest next tokens."""
        if not words.strip():
            return next_tokens(self.lm, self.text).ids[:WORDS].tolist()
        return [int(self.lm.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]) for word in repair(words).split()]

    def static_html(self) -> str:
        return TEMPLATES.render("picture.html", picture=draw_heads(self.reading.trace))

    def describe(self) -> str:
        return f"AttentionExplorer({self.lm.name!r}, {self.text!r}, mode={self.mode!r}, layer={self.layer}, head={self.head})"


def triangles(weights: np.ndarray) -> bytes:
    """Weights [heads, tokens, tokens] as 8-bit lower triangles, row by row: 0 is 0 and 255 is 1."""
    rows, columns = np.tril_indices(weights.shape[-1])
    return np.rint(weights[:, rows, columns] * 255).astype(np.uint8).tobytes()


def thumbnails(weights: np.ndarray, most: int = THUMBNAIL) -> bytes:
    """Weights [layers, heads, tokens, tokens] at `most` by `most`: the largest weight of each square, its square root, as 8-bit triangles.

    The largest and not the mean: a head that attends to one token at a time would fade away.
    """
    count = weights.shape[-1]
    size = min(count, most)
    edges = np.linspace(0, count, size + 1).astype(int)[:-1]
    small = np.maximum.reduceat(np.maximum.reduceat(weights, edges, axis=2), edges, axis=3)
    return triangles(np.sqrt(small).reshape(-1, size, size))
