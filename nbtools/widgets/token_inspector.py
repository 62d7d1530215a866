"""The token inspector: one packed block as training sees it, one row per token."""

from __future__ import annotations

from typing import Any, ClassVar

from nbtools.data import Packed
from nbtools.errors import InputError
from nbtools.evaluation import block_nll
from nbtools.models import LanguageModel
from nbtools.plots import Table
from nbtools.tokens import id_texts, visible
from nbtools.widgets.live import LiveView
from nbtools.widgets.requests import Request

STATIC_ROWS = 12
COLUMNS = ["index", "token", "id", "label", "position", "document", "attends to", "share of the loss"]
NO_LABEL = "none: the block ends"


class TokenInspector(LiveView):
    """One block of packed reviews as a table: token, label, position, document, the tokens it attends to, its share of the loss.

    lm      the model whose loss is shown
    packed  what `nbtools.pack` returned
    block   the index of a block

    Row t is token t of the block: its label is the token that the model must predict there, token t + 1, and its share of the loss is that
    prediction's part of the block's sum. Raises InputError for a block that does not exist.
    """

    view: ClassVar[str] = "token_inspector"
    holds: ClassVar[tuple[str, ...]] = ("lm", "packed", "rows")

    def __init__(self, lm: LanguageModel, packed: Packed, block: int = 0) -> None:
        self.lm, self.packed = lm, packed
        super().__init__(shown={"columns": COLUMNS, "blocks": len(packed), **self._block(block)})

    def on_block(self, request: Request) -> dict[str, Any]:
        """Another block."""
        return self._block(int(request["block"]))

    def _block(self, block: int) -> dict[str, Any]:
        if not 0 <= block < len(self.packed):
            raise InputError(f"There is no block {block}.", f"Blocks are 0 to {len(self.packed) - 1}.")
        size, documents = self.packed.block_size, len(set(self.packed.document_ids[block].tolist()))
        nll = block_nll(self.lm, self.packed, block)
        total = float(nll.sum())
        self.block, self.title = block, f"block {block} of {len(self.packed):,}: {size} tokens of {documents} reviews"
        self.rows = self._rows(block, [float(value) / total for value in nll])
        return {"title": self.title, "block": block, "rows": self.rows, "loss": total / (size - 1)}

    def _rows(self, block: int, shares: list[float]) -> list[list[Any]]:
        """One row per token, in the order of `COLUMNS`; the last token has no label and no share."""
        ids, positions, documents = (
            array[block].tolist() for array in (self.packed.input_ids, self.packed.position_ids, self.packed.document_ids)
        )
        texts = [visible(text) for text in id_texts(self.lm.tokenizer, ids)]
        labels: list[Any] = [*texts[1:], NO_LABEL]
        rows = []
        for index, (text, label) in enumerate(zip(texts, labels, strict=True)):
            begin = index - positions[index]
            attended = f"{begin} to {index}" if begin < index else "itself"
            share = shares[index] if index + 1 < len(texts) else None
            rows.append([index, text, ids[index], label, positions[index], documents[index], attended, share])
        return rows

    def static_html(self) -> str:
        rows = [[*row[:-1], "" if row[-1] is None else f"{row[-1]:.2%}"] for row in self.rows[:STATIC_ROWS]]
        return Table(COLUMNS, rows, f"{self.title}; the first {len(rows)} tokens")._repr_html_()

    def describe(self) -> str:
        return f"TokenInspector({self.lm.name!r}, block={self.block})"
