"""Figures of attention: thumbnails of all heads, one head in full, position vectors, and the cost of attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbtools.attention import AttentionCost, AttentionTrace
from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, Picture, drawable, new_figure
from nbtools.tokens import visible

MAX_LABELS = 40
"""More token labels than this would overlap at the width of a page."""


def draw_heads(trace: AttentionTrace) -> Picture:
    """One thumbnail per head, layers downwards and heads across, rows and columns as in `draw_head`.

    Darker is more attention. All share one scale, the square root from 0 to 1, so that faint patterns are visible.
    """
    width = min(0.75 * trace.heads + 0.6, 11.0)
    height = width * trace.layers / trace.heads + 0.6
    figure, axes = new_figure(trace.layers, trace.heads, width=width, height=height, squeeze=False)
    for (layer, head), ax in np.ndenumerate(axes):
        ax.imshow(np.sqrt(trace.weights[layer, head]), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="0.8", linewidth=0.6)
        if layer == 0:
            ax.set_title(f"head {head}" if trace.heads <= 8 else str(head), fontsize=8)
        if head == 0:
            ax.set_ylabel(f"layer {layer}" if trace.layers <= 12 else str(layer), fontsize=8)
    return Picture(
        figure,
        f"attention of {trace.name or 'a model'} over {len(trace.ids)} tokens: {trace.layers} rows of layers, {trace.heads} columns "
        "of heads, each a small square in which darker means more attention",
    )


def draw_head(trace: AttentionTrace, layer: int, head: int) -> Picture:
    """One head as a matrix: rows are queries, columns are keys, and every row sums to 1.

    Layers and heads count from 0. Raises InputError for one that does not exist.
    """
    trace.check_head(layer, head)
    count = len(trace.tokens)
    size = min(1.8 + 0.24 * count, 8.5)
    figure, ax = new_figure(width=size + 0.7, height=size)
    image = ax.imshow(trace.weights[layer, head], cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    step = -(-count // MAX_LABELS)
    positions, labels = range(0, count, step), [drawable(visible(token)) for token in trace.tokens[::step]]
    # A token may contain a dollar sign, which matplotlib would read as the start of a formula.
    ax.set_xticks(positions, labels, rotation=90, parse_math=False)
    ax.set_yticks(positions, labels, parse_math=False)
    ax.set(xlabel="key: the token attended to", ylabel="query: the attending token", title=f"layer {layer}, head {head}")
    figure.colorbar(image, ax=ax, shrink=0.6, label="attention weight")
    strongest = trace.weights[layer, head].argmax(axis=-1)
    first, previous = int(np.sum(strongest == 0)), int(np.sum(strongest[1:] == np.arange(count - 1)))
    return Picture(
        figure,
        f"attention matrix of layer {layer}, head {head} over {count} tokens: {first} rows are strongest at the first token, "
        f"{previous} at the token before",
    )


def draw_matrices(matrices: Mapping[str, Any], rows: Sequence[str]) -> Picture:
    """Small matrices as grids, four in a line, with the number in each cell.

    matrices  by title: tensors or arrays [len(rows), columns]; blue is positive, orange negative
    rows      the labels of the rows; also of the columns of a square matrix
    """
    across = 4
    figure, axes = new_figure(-(-len(matrices) // across), across, width=9.5, height=2.5 * -(-len(matrices) // across), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for index, (ax, (title, matrix)) in enumerate(zip(axes.flat, matrices.items(), strict=False)):
        values = np.asarray(matrix, dtype=float)
        ax.set_axis_on()
        limit = max(1e-9, float(np.abs(values[np.isfinite(values)]).max(initial=0)))
        ax.imshow(values, cmap="PuOr", vmin=-2 * limit, vmax=2 * limit)
        for (row, column), value in np.ndenumerate(values):
            number = f"{value:.2f}".removesuffix(".00") if np.isfinite(value) else "-∞"
            ax.text(column, row, number, ha="center", va="center", fontsize=9)
        square = values.shape[1] == len(rows) and index > 0
        ax.set_yticks(range(len(rows)), rows if index % across == 0 else [""] * len(rows), parse_math=False)
        ax.set_xticks(range(values.shape[1]), rows if square else [""] * values.shape[1], fontsize=8, parse_math=False)
        ax.tick_params(length=0)
        ax.set_title(title, fontsize=10)
    sizes = ", ".join(f"{title} ({' by '.join(map(str, np.shape(matrix)))})" for title, matrix in matrices.items())
    return Picture(figure, f"matrices with their numbers, one row per token: {sizes}")


def draw_positions(tables: dict[str, np.ndarray], columns: Sequence[str] | None = None) -> Picture:
    """Tables with one row per position, as heat maps side by side.

    tables   by title
    columns  what the columns of each table are; dimensions of the position vectors if not given

    Each table has its own colour scale: white is 0, red positive, blue negative.
    """
    figure, axes = new_figure(1, len(tables), width=4.2 * len(tables), height=3.6, squeeze=False)
    names = columns or ["dimension"] * len(tables)
    for ax, (title, table), name in zip(axes[0], tables.items(), names, strict=True):
        limit = float(np.quantile(np.abs(table), 0.99))  # without a limit, a few huge values would leave the rest white
        image = ax.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        ax.set(title=title, xlabel=name, ylabel="position")
        figure.colorbar(image, ax=ax, shrink=0.8)
    shapes = "; ".join(f"{title} ({table.shape[0]} by {table.shape[1]})" for title, table in tables.items())
    return Picture(figure, f"heat maps with one row per position: {shapes}")


def draw_cost(cost: AttentionCost) -> Picture:
    """Seconds and memory of one head against the number of tokens, both axes logarithmic, with lines for linear and quadratic growth."""
    figure, (left, right) = new_figure(1, 2, width=8.5, height=3.4)
    lengths = cost.lengths
    linear, quadratic = lengths / lengths[-1], (lengths / lengths[-1]) ** 2
    left.plot(lengths, 1e3 * cost.attention, "o-", color=ORANGE, label="scores, softmax, sum: step by step")
    left.plot(lengths, 1e3 * cost.fused, "^-", color=GREEN, label="the same, fused (never stored)")
    left.plot(lengths, 1e3 * cost.attention[-1] * quadratic, "--", color=GREY, linewidth=1, label="guides: length² and length")
    left.plot(lengths, 1e3 * cost.projection, "s-", color=BLUE, label="making Q, K and V")
    left.plot(lengths, 1e3 * cost.projection[-1] * linear, "--", color=GREY, linewidth=1)
    left.set(ylabel="milliseconds", title="time of one head, measured")
    left.legend(fontsize=8, frameon=False)
    right.plot(lengths, cost.score_bytes / 1e6, "o-", color=ORANGE)
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xticks=lengths, xticklabels=[f"{length:,}" for length in lengths], xlabel="tokens")
    right.set(ylabel="MB", title="memory of one head's scores, if stored")
    right.set_yticks(cost.score_bytes / 1e6, [f"{size / 1e6:.2g}" for size in cost.score_bytes])
    right.minorticks_off()
    return Picture(
        figure,
        f"time and memory of one attention head from {lengths[0]:,} to {lengths[-1]:,} tokens on logarithmic axes: scores and softmax "
        "grow with the square of the length, making Q, K and V with the length",
    )
