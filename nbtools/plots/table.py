"""A small table for notebooks, as HTML with escaped cells and as `text/plain`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.templates import Templates

if TYPE_CHECKING:
    from markupsafe import Markup

LONG_WORD = 20  # letters; longer words may be broken to keep a column narrow


def _overflow_wrap(text: str) -> str:
    """The value of the CSS property."""
    return "anywhere" if any(len(word) > LONG_WORD for word in text.split()) else "break-word"


TEMPLATES = Templates(Path(__file__).parent / "templates", overflow_wrap=_overflow_wrap)


class Table:
    """A table of texts; HTML in a cell is escaped.

    headings  one per column
    rows      one value per heading, shown as str() gives it
    caption   shown above the table

    Raises ValueError for a row of another length.
    """

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        self.headings, self.caption = list(headings), caption
        self.rows = [[str(cell) for cell in row] for row in rows] or [["none", *[""] * (len(self.headings) - 1)]]
        if any(len(row) != len(self.headings) for row in self.rows):
            raise ValueError("Every row needs one cell per heading.")

    def _repr_html_(self) -> str:
        return str(TEMPLATES.render("table.html", headings=self.headings, rows=self.rows, caption=self.caption))

    def __repr__(self) -> str:
        """Columns as wide as their longest line, at most 44 characters; longer cells are wrapped."""
        wrapped = [[_wrap(cell) for cell in row] for row in [self.headings, *self.rows]]
        widths = [max(len(line) for row in wrapped for line in row[column]) for column in range(len(self.headings))]
        lines = [self.caption] if self.caption else []
        for row in wrapped:
            for line in range(max(len(cell) for cell in row)):
                cells = [(cell[line] if line < len(cell) else "").ljust(width) for cell, width in zip(row, widths, strict=True)]
                lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


def as_text(text: str) -> Markup:
    """Escape `text` as HTML that shows it character by character."""
    return TEMPLATES.render("text.html", text=text)


def _wrap(cell: str) -> list[str]:
    return [line for paragraph in cell.split("\n") for line in (textwrap.wrap(paragraph, 44) or [""])]
