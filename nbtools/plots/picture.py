"""A figure with a description: a notebook stores it as PNG, alternative text and a stable `text/plain`."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.storage import resolve_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colour-blind-safe palette (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#6E6E6E"


class Picture:
    """A matplotlib figure with alternative text, shown when it is the last value of a notebook cell.

    figure  the figure
    alt     a sentence that describes it to those who cannot see it
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure, self.alt = figure, alt

    def png(self) -> bytes:
        """The figure as PNG, with the alternative text in its metadata."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Description": self.alt, "Software": None})
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the figure in the format of the path's extension, such as .png or .svg."""
        path = resolve_path(path)
        self.figure.savefig(path, bbox_inches="tight")
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        data = {"image/png": base64.b64encode(self.png()).decode("ascii"), "text/plain": repr(self)}
        return data, {"image/png": {"alt": self.alt}}

    def __repr__(self) -> str:
        return f"[picture: {self.alt}]"


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 7.5, height: float = 3.2, **keywords: Any) -> tuple[Figure, Any]:
    """Create a figure outside pyplot's global state, so that it is not displayed twice or kept in memory.

    rows, columns  number of axes
    width, height  size in inches
    keywords       passed to `Figure.subplots`

    Returns the figure and its axes, as `plt.subplots` does.
    """
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, **keywords)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(length=3, labelsize=8)
    return figure, axes


def name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Name the horizontal bars of a figure, the first one at the top."""
    # A token may contain a dollar sign, which matplotlib would read as the start of a formula.
    ax.set_yticks(range(len(names)), [drawable(name) for name in names], parse_math=False)
    ax.invert_yaxis()


def drawable(text: str) -> str:
    """Replace each character that the figure's font lacks by an empty box; matplotlib would warn about each."""
    return "".join(character if ord(character) in _characters() else "□" for character in text)


@functools.cache
def _characters() -> frozenset[int]:
    """The code points of DejaVu Sans, matplotlib's default font."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
