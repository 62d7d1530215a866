"""A small table for notebooks: HTML in which every cell is text, and the same as `text/plain`."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import Any

_CELL = "text-align:left; vertical-align:top; padding:0.35em 0.7em; max-width:30em"
# JupyterLab breaks a `pre` anywhere and gives it a ground of its own.
_TEXT = "white-space:pre-wrap; overflow-wrap:{}; word-break:normal; background:none; margin:0; font-family:inherit"
_LONGEST = 20  # letters: a longer word may be broken to keep a column narrow, a shorter one never is


class Table:
    """Rows under headings. Cells are shown as text: nothing in them is read as HTML."""

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        self.headings, self.caption = list(headings), caption
        self.rows = [[str(cell) for cell in row] for row in rows] or [["none", *[""] * (len(self.headings) - 1)]]
        if any(len(row) != len(self.headings) for row in self.rows):
            raise ValueError("every row needs one cell a heading")

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="{_CELL}">{as_text(cell)}</th>' for cell in self.headings)
        body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{as_text(cell)}</td>' for cell in row) + "</tr>" for row in self.rows)
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        """Columns as wide as their longest line, at most 44 characters; longer cells are wrapped."""
        wrapped = [[_wrap(cell) for cell in row] for row in [self.headings, *self.rows]]
        widths = [max(len(line) for row in wrapped for line in row[column]) for column in range(len(self.headings))]
        lines = [self.caption] if self.caption else []
        for row in wrapped:
            for at in range(max(len(cell) for cell in row)):
                cells = [(cell[at] if at < len(cell) else "").ljust(width) for cell, width in zip(row, widths, strict=True)]
                lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


def as_text(text: str) -> str:
    """`text` as HTML that shows it character by character. In `pre` no front end looks for formulas either."""
    wrap = "anywhere" if any(len(word) > _LONGEST for word in text.split()) else "break-word"
    return f'<pre style="{_TEXT.format(wrap)}">{html.escape(text)}</pre>'


def _wrap(cell: str) -> list[str]:
    return [line for part in cell.split("\n") for line in (textwrap.wrap(part, 44) or [""])]
