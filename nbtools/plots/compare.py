"""Two models compared: next tokens that gained probability, changed attention, texts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbtools.plots.picture import GREEN, GREY, Picture, drawable, name_bars, new_figure
from nbtools.plots.table import Table

LEAST = 1e-6  # smaller probabilities are drawn there


def draw_top_gains(shifts: Sequence[Any], prompt: str) -> Picture:
    """The probability of each candidate before and after, on a log scale, because it is often small before.

    shifts  what `nbtools.compare.top_gains` returned
    prompt  the text after which the tokens were predicted
    """
    if not shifts:
        figure, ax = new_figure(width=7.5, height=1.0)
        ax.set_axis_off()
        ax.text(0.5, 0.5, "No next token became likelier.", ha="center", va="center")
        return Picture(figure, "no next token became likelier")
    figure, ax = new_figure(width=7.5, height=0.5 + 0.3 * len(shifts))
    rows = np.arange(len(shifts))
    before, after = ([max(getattr(shift, name), LEAST) for shift in shifts] for name in ("before", "after"))
    ax.hlines(rows, before, after, color=GREY, linewidth=1)
    ax.plot(before, rows, "o", color=GREY, label="before")
    ax.plot(after, rows, "o", color=GREEN, label="after")
    for row, shift in enumerate(shifts):
        label = f"{100 * shift.before:.2g} % → {100 * shift.after:.2g} %"
        ax.annotate(label, (max(before[row], after[row]), row), (8, 0), textcoords="offset points", va="center", fontsize=8)
    name_bars(ax, [shift.text for shift in shifts])
    ax.set_xscale("log")
    ax.margins(x=0.25, y=0.12)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    ax.set_xlabel(drawable(f"probability of the next token after “{prompt}”"), parse_math=False)
    ax.legend(frameon=False, fontsize=8)
    words = ", ".join(f"{shift.text} {shift.before:.1%} to {shift.after:.1%}" for shift in list(shifts)[:3])
    return Picture(figure, f"next tokens that became likelier, the first three: {words}")


def draw_moved_heads(shift: np.ndarray) -> Picture:
    """How much the attention of each head changed.

    shift  float [layers, heads], bits, from `nbtools.compare.attention_shift`
    """
    layers, heads = shift.shape
    figure, ax = new_figure(width=1.5 + 0.55 * heads, height=1.0 + 0.36 * layers)
    image = ax.imshow(shift, cmap="cividis", vmin=0, vmax=max(float(shift.max()), 1e-9), aspect="auto")
    ax.set(xticks=range(heads), yticks=range(layers), xlabel="head", ylabel="layer")
    for (layer, head), value in np.ndenumerate(shift):
        ax.text(head, layer, f"{value:.2f}", ha="center", va="center", fontsize=7, color="black" if value > shift.max() * 0.55 else "white")
    figure.colorbar(image, ax=ax, label="divergence (bits)")
    layer, head = (int(index) for index in np.unravel_index(shift.argmax(), shift.shape))
    return Picture(figure, f"divergence of attention by layer and head; head {head} of layer {layer} moved most, {shift.max():.2f} bits")


def table_of_pairs(pairs: Sequence[dict[str, Any]]) -> Table:
    """A table of the texts from `nbtools.compare.sample_pairs`; the prompt, the same for both models, is a separate column."""
    rows = []
    for pair in pairs:
        before, after = (pair[name].removeprefix(pair["prompt"]).strip() for name in ("before", "after"))
        rows.append([f"{pair['prompt']} …", before, after])
    return Table(["prompt", "before", "after"], rows, caption=f"{pairs[0]['decoding']}, seed {pairs[0]['seed']}" if pairs else "")
