"""The attention explorer: every head at a glance, one in full, any weight as arithmetic, heads silenced, layers asked."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import traitlets

from nbtools.attention import Reading, knock_out_each, logit_lens, read_attention, score_heads
from nbtools.attention.reading import MODES
from nbtools.errors import InputError
from nbtools.generation import next_tokens
from nbtools.plots.attention import draw_heads
from nbtools.texts import repair
from nbtools.tokens import id_texts, visible
from nbtools.values import checked
from nbtools.widgets.live import LiveView

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

THUMBNAIL = 14  # rows and columns of a head's thumbnail, at most
WORDS = 3  # likeliest next words that the knock-out board begins with


class AttentionExplorer(LiveView):
    """All heads of a model over a text, to be looked at, taken apart and silenced. GPT-2 and Llama-like models.

    lm    the model; text: what it reads, at most its context
    mode  how weights are shown first: "raw", "without first", "value-weighted" or "rollout" (`nbtools.attention.Reading.weights`)

    The browser gets small thumbnails of all heads and the weights of one layer, as 8-bit lower triangles; the exact numbers of a row when
    it is pointed at. Raises InputError for a text that is empty or too long, ModelError for a model that cannot be watched.
    """

    view: ClassVar[str] = "attention_explorer"
    parts: ClassVar[tuple[str, ...]] = ("matrix",)
    holds: ClassVar[tuple[str, ...]] = ("lm", "reading")

    title = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    tokens: traitlets.List[Any] = traitlets.List().tag(sync=True)
    shape: traitlets.List[Any] = traitlets.List().tag(sync=True)  # layers, heads
    modes: traitlets.List[Any] = traitlets.List(list(MODES)).tag(sync=True)
    mode = traitlets.Unicode("raw").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    thumbs = traitlets.Bytes().tag(sync=True)
    triangles = traitlets.Bytes().tag(sync=True)  # uint8 [heads of the mode, tokens · (tokens + 1) / 2] of `layer` in `mode`
    row = traitlets.Dict().tag(sync=True)  # the place whose exact numbers are in `exact`
    exact = traitlets.Bytes().tag(sync=True)  # float32
    cell = traitlets.Dict().tag(sync=True)
    board = traitlets.Dict().tag(sync=True)
    lens = traitlets.Dict().tag(sync=True)
    scores = traitlets.Dict().tag(sync=True)

    @checked()
    def __init__(self, lm: LanguageModel, text: str, *, mode: str = "raw", layer: int = 0, head: int = 0) -> None:
        if mode not in MODES:
            raise InputError(f"There is no way of looking called {mode!r}.", f"There are: {', '.join(MODES)}.")
        self.lm = lm
        self.reading: Reading = read_attention(lm, text)
        trace = self.reading.trace
        if not (0 <= layer < trace.layers and 0 <= head < trace.heads):
            raise InputError(f"There is no layer {layer}, head {head}.", f"There are {trace.layers} layers of {trace.heads} heads.")
        super().__init__(mode=mode, layer=layer, head=head, **self._first_sight(mode, layer))

    def _first_sight(self, mode: str, layer: int) -> dict[str, Any]:
        trace = self.reading.trace
        return {
            "title": f"{self.lm.name}: {trace.layers} layers of {trace.heads} heads, {len(trace.ids)} tokens",
            "text": trace.text,
            "tokens": trace.tokens,
            "shape": [trace.layers, trace.heads],
            "thumbs": thumbnails(trace.weights),
            "triangles": triangles(self.reading.weights(layer, mode)),
        }

    # What is asked for.

    def on_read(self, content: dict[str, Any]) -> None:
        self.reading = read_attention(self.lm, str(content["text"]))
        with self.hold_sync():
            self.row, self.exact, self.cell, self.board, self.lens = {}, b"", {}, {}, {}
            for name, value in self._first_sight(self.mode, self.layer).items():
                setattr(self, name, value)

    def on_layer(self, content: dict[str, Any]) -> None:
        layer, mode = int(content["layer"]), str(content["mode"])
        if not 0 <= layer < self.reading.trace.layers:
            raise InputError(f"There is no layer {layer}.", f"There are {self.reading.trace.layers}.")
        packed = triangles(self.reading.weights(layer, mode))
        with self.hold_sync():
            self.layer, self.mode, self.head, self.triangles = layer, mode, int(content["head"]), packed

    def on_row(self, content: dict[str, Any]) -> None:
        """The exact numbers of one row, or of one column, of the matrix in sight."""
        index, column = int(content["index"]), bool(content.get("column"))
        matrix = self._matrix()
        with self.hold_sync():
            self.row = {"layer": self.layer, "head": self.head, "mode": self.mode, "index": index, "column": column}
            self.exact = (matrix[:, index] if column else matrix[index]).astype(np.float32).tobytes()

    def on_cell(self, content: dict[str, Any]) -> None:
        row, column = int(content["row"]), int(content["column"])
        found = self.reading.cell(self.layer, self.head, row, column)
        numbers = {name: value if np.isfinite(value) else None for name, value in asdict(found).items()}
        width = self.reading.queries.shape[-1]
        self.cell = {**numbers, "row": row, "column": column, "layer": self.layer, "head": self.head, "width": width,
                     "snippet": self._snippet(row, column)}  # fmt: skip

    def on_silence(self, content: dict[str, Any]) -> None:
        """The knock-out board: every head silenced in turn."""
        ids = self._word_ids(str(content.get("words", "")))
        change = knock_out_each(self.lm, self.reading.trace.text, ids)
        self.board = {"words": [visible(word) for word in id_texts(self.lm.tokenizer, ids)], "change": change.round(5).tolist()}

    def on_lens(self, content: dict[str, Any]) -> None:
        place = int(content["place"])
        lens = logit_lens(self.lm, self.reading.trace.text, place)
        texts = [[visible(text) for text in row] for row in lens.texts]
        self.lens = {"place": place, "texts": texts, "probabilities": lens.probabilities.round(6).tolist()}

    def on_score(self, content: dict[str, Any]) -> None:
        found = score_heads(self.lm, length=min(24, self.lm.context // 2))
        self.scores = {name: values.round(4).tolist() for name, values in asdict(found).items()}

    def on_export(self, content: dict[str, Any]) -> None:
        """All exact numbers of the matrix in sight, once, to whoever asked; they are not kept."""
        matrix = np.ascontiguousarray(self._matrix(), dtype="<f4")
        self.send({"type": "exact", "count": len(matrix), "layer": self.layer, "head": self.head, "mode": self.mode}, [matrix.tobytes()])

    def _matrix(self) -> np.ndarray:
        weights = self.reading.weights(self.layer, self.mode)
        return weights[min(self.head, len(weights) - 1)]

    def _word_ids(self, words: str) -> list[int]:
        """The first token of each word, as it would stand after a space; without words, the likeliest next tokens."""
        if not words.strip():
            return next_tokens(self.lm, self.reading.trace.text).ids[:WORDS].tolist()
        return [int(self.lm.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]) for word in repair(words).split()]

    def _snippet(self, row: int, column: int) -> str:
        return (
            "import numpy as np\nimport nbtools\nfrom nbtools.attention import read_attention\n\n"
            f"lm = nbtools.load_model({self.lm.name!r})\n"
            f"reading = read_attention(lm, {self.reading.trace.text!r})\n"
            f"q = reading.queries[{self.layer}, {self.head}, {row}]\n"
            f"k = reading.keys[{self.layer}, {self.head}, : {row} + 1]  # what comes later is masked\n"
            f"scores = k @ q * reading.scales[{self.layer}]\n"
            f"weights = np.exp(scores) / np.exp(scores).sum()\n"
            f"print(weights[{column}])"
        )

    # Without scripts.

    def still(self) -> str:
        picture = draw_heads(self.reading.trace)
        data = base64.b64encode(picture.png()).decode("ascii")
        return f'<img alt="{picture.alt}" src="data:image/png;base64,{data}">'

    def __repr__(self) -> str:
        return f"AttentionExplorer({self.title})"


def triangles(weights: np.ndarray) -> bytes:
    """Weights [heads, tokens, tokens] as 8-bit lower triangles, row by row: 0 is 0 and 255 is 1."""
    rows, columns = np.tril_indices(weights.shape[-1])
    return np.rint(weights[:, rows, columns] * 255).astype(np.uint8).tobytes()


def thumbnails(weights: np.ndarray, most: int = THUMBNAIL) -> bytes:
    """Weights [layers, heads, tokens, tokens] made small: the largest weight in each square, its square root, as 8-bit triangles.

    The largest and not the mean: a head that reads one token at a time would fade away.
    """
    count = weights.shape[-1]
    size = min(count, most)
    edges = np.linspace(0, count, size + 1).astype(int)[:-1]
    small = np.maximum.reduceat(np.maximum.reduceat(weights, edges, axis=2), edges, axis=3)
    return triangles(np.sqrt(small).reshape(-1, size, size))
