"""Figures of training: the learning curve, and scores before and after."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, Picture, new_figure


def draw_curve(rows: list[dict[str, Any]], title: str = "") -> Picture:
    """The training loss in nats per token (left axis), the same as perplexity (right axis), and the validation points.

    rows   the rows of `Finetuned.curve`: step, loss, tokens and, in some of them, validation_perplexity
    title  shown above the figure
    """
    figure, ax = new_figure(width=7.5, height=3.2)
    ax.plot([row["step"] for row in rows], [row["loss"] for row in rows], color=BLUE, label="training, mean of 10 steps")
    points = [(row["step"], math.log(row["validation_perplexity"])) for row in rows if "validation_perplexity" in row]
    if points:
        ax.plot(*zip(*points, strict=True), "o--", color=ORANGE, markersize=5, label="validation sample")
    ax.set(xlabel="step", ylabel="loss (nats per token)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    right = ax.secondary_yaxis("right", functions=(_exp, _log))
    right.set_ylabel("perplexity")
    right.tick_params(length=3, labelsize=8)
    ax.grid(axis="y", color=GREY, alpha=0.2)
    ax.legend(frameon=False, fontsize=8)
    if title:
        ax.set_title(title, fontsize=9, loc="left")
    first, last = rows[0], rows[-1]
    words = f"training loss {first['loss']:.2f} at step {first['step']}, {last['loss']:.2f} at step {last['step']}"
    return Picture(figure, f"learning curve: {words}")


def draw_before_after(before: dict[str, Any], after: dict[str, Any]) -> Picture:
    """Bars of perplexity and bits per byte for each split; `before` and `after` map the split's name to its Score."""
    figure, axes = new_figure(1, 2, width=7.5, height=2.6)
    for ax, quantity, name in zip(axes, ("perplexity", "bits_per_byte"), ("perplexity", "bits per byte"), strict=True):
        for index, split in enumerate(before):
            for shift, scores, colour, label in ((-0.2, before, GREY, "before"), (0.2, after, GREEN, "after")):
                value = getattr(scores[split], quantity)
                ax.bar(index + shift, value, 0.38, color=colour, label=label if index == 0 else None)
                ax.annotate(f"{value:.3g}", (index + shift, value), ha="center", va="bottom", fontsize=8)
        ax.set_xticks(range(len(before)), list(before))
        ax.set_title(f"{name} (lower is better)", fontsize=9, loc="left")
        ax.margins(y=0.15)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    words = "; ".join(f"{split} from {before[split].perplexity:.1f} to {after[split].perplexity:.1f}" for split in before)
    return Picture(figure, f"perplexity before and after fine-tuning: {words}")


def _exp(values: Any) -> Any:
    return np.exp(np.clip(values, -20, 50))


def _log(values: Any) -> Any:
    return np.log(np.maximum(values, 1e-9))
