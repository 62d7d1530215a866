"""The lengths of the reviews, by label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbtools.plots.picture import BLUE, GREY, ORANGE, Picture, new_figure


def draw_lengths(lengths: np.ndarray, labels: Sequence[int], block_size: int) -> Picture:
    """Histogram of review lengths, by label, with the block size marked.

    lengths     int [reviews], tokens
    labels      0 (negative) or 1 (positive) for each review
    block_size  tokens
    """
    figure, ax = new_figure(width=7.5, height=2.8)
    edges = np.linspace(0, np.quantile(lengths, 0.99), 40)
    for value, name, colour in ((0, "negative", ORANGE), (1, "positive", BLUE)):
        ax.hist(lengths[np.asarray(labels) == value], edges, histtype="step", linewidth=1.6, color=colour, label=name)
    ax.axvline(block_size, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(f" block of {block_size}", (block_size, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8, color=GREY)
    ax.set(xlabel="tokens per review", ylabel="reviews")
    ax.legend(frameon=False, fontsize=8)
    longer = (lengths > block_size).mean()
    words = f"median {np.median(lengths):.0f} tokens, {longer:.0%} longer than a block of {block_size}"
    return Picture(figure, f"histogram of review lengths: {words}")
