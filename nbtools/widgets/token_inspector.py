"""The token inspector: one packed block as training sees it, a token a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import traitlets

from nbtools.errors import InputError
from nbtools.evaluation import block_nll
from nbtools.plots import Table
from nbtools.tokens import id_texts, visible
from nbtools.widgets.live import LiveView

if TYPE_CHECKING:
    from nbtools.data import Packed
    from nbtools.models import LanguageModel

STILL_ROWS = 12
HEAD = ["place", "token", "id", "label after the shift", "position", "document", "may attend to", "share of the loss"]


class TokenInspector(LiveView):
    """One block of packed reviews as a table: token, label, position, document, what it may attend to, its share of the loss.

    lm     the model whose loss is shown; packed: what `nbtools.pack` made; block: which of its blocks

    Row t is the place t of the block: its label is what the model must predict there, the token at t + 1, and its share of the loss is
    that prediction's part of the block's sum. Raises InputError for a block that does not exist.
    """

    view: ClassVar[str] = "token_inspector"
    holds: ClassVar[tuple[str, ...]] = ("lm", "packed")

    title = traitlets.Unicode().tag(sync=True)
    blocks = traitlets.Int().tag(sync=True)
    block = traitlets.Int().tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    head: traitlets.List[Any] = traitlets.List(HEAD).tag(sync=True)
    loss = traitlets.Float().tag(sync=True)

    def __init__(self, lm: LanguageModel, packed: Packed, block: int = 0) -> None:
        self.lm, self.packed = lm, packed
        super().__init__(**self._shown(block))

    def on_block(self, content: dict[str, Any]) -> None:
        shown = self._shown(int(content["block"]))
        with self.hold_sync():
            for name, value in shown.items():
                setattr(self, name, value)

    def _shown(self, block: int) -> dict[str, Any]:
        if not 0 <= block < len(self.packed):
            raise InputError(f"There is no block {block}.", f"Blocks are 0 to {len(self.packed) - 1}.")
        nll = block_nll(self.lm, self.packed, block)
        ids = self.packed.input_ids[block]
        positions, documents = self.packed.position_ids[block], self.packed.document_ids[block]
        texts = [visible(text) for text in id_texts(self.lm.tokenizer, ids.tolist())]
        total = float(nll.sum())
        rows = []
        for place, text in enumerate(texts):
            begin = place - int(positions[place])
            counted = place + 1 < len(texts)
            seen = f"{begin} to {place}" if begin < place else "itself"
            rows.append([
                place, text, int(ids[place]), texts[place + 1] if counted else "none: the block ends", int(positions[place]),
                int(documents[place]), seen, float(nll[place] / total) if counted else None,
            ])  # fmt: skip
        size = self.packed.block_size
        return {
            "title": f"block {block} of {len(self.packed):,}: {size} tokens of {len(set(documents.tolist()))} reviews",
            "blocks": len(self.packed),
            "block": block,
            "rows": rows,
            "loss": total / (size - 1),
        }

    def still(self) -> str:
        shown = [[*row[:-1], "" if row[-1] is None else f"{row[-1]:.2%}"] for row in self.rows[:STILL_ROWS]]
        return Table(self.head, shown, f"{self.title}; its first {len(shown)} tokens")._repr_html_()

    def __repr__(self) -> str:
        return f"TokenInspector({self.lm.name}, {self.title})"
