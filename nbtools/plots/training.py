"""Figures of training: the learning curve, and scores before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    """Bars of perplexity and bits per byte for each split; `before` and `after` map the split's name to its Score.

    Black lines are 95 % confidence intervals for reviews of this kind.
    """
    figure, axes = new_figure(1, 2, width=7.5, height=2.6)
    for ax, quantity, form in zip(axes, ("perplexity", "bits per byte"), ("{:.1f}", "{:.3f}"), strict=True):
        for index, split in enumerate(before):
            for shift, scores, colour, label in ((-0.2, before, GREY, "before"), (0.2, after, GREEN, "after")):
                value = getattr(scores[split], quantity.replace(" ", "_"))
                ax.bar(index + shift, value, 0.38, color=colour, label=label if index == 0 else None)
                top = value
                if quantity == "bits per byte" and scores[split].reviews > 1:
                    low, top = scores[split].interval
                    ax.plot([index + shift] * 2, [low, top], color="black", linewidth=1)
                ax.annotate(form.format(value), (index + shift, top), ha="center", va="bottom", fontsize=8)
        ax.set_xticks(range(len(before)), list(before))
        ax.set_title(f"{quantity} (lower is better)", fontsize=9, loc="left")
        ax.margins(y=0.15)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    words = "; ".join(f"{split} from {before[split].perplexity:.1f} to {after[split].perplexity:.1f}" for split in before)
    return Picture(figure, f"perplexity before and after fine-tuning: {words}")


def draw_schedules(rates: Mapping[str, Sequence[float]], gradients: Mapping[int, float]) -> Picture:
    """Learning rates over the steps of a training, and how far the gradient of a few reviews points in the direction of that of others.

    rates      by the schedule's name, the rate at each step as a fraction of the highest
    gradients  by the number of reviews whose gradients were summed, the cosine of the angle to the gradient of others
    """
    figure, (left, right) = new_figure(1, 2, width=7.5, height=2.6)
    for (name, values), colour in zip(rates.items(), (BLUE, ORANGE, GREEN, GREY), strict=False):
        left.plot(range(1, len(values) + 1), values, color=colour, label=name)
    left.set(xlabel="step", ylabel="fraction of learning_rate")
    left.legend(frameon=False, fontsize=8)
    right.plot(list(gradients), list(gradients.values()), "o-", color=BLUE)
    right.set(xscale="log", xlabel="reviews whose gradients are summed", ylabel="cosine to the gradient of others", ylim=(0, 1.05))
    right.set_xticks(list(gradients), [str(count) for count in gradients])
    right.minorticks_off()
    words = ", ".join(f"{cosine:.2f} of {count}" for count, cosine in gradients.items())
    said = f"learning-rate schedules: {', '.join(rates)}; cosine of the summed gradient of reviews to that of others: {words}"
    return Picture(figure, said)


def _exp(values: Any) -> Any:
    return np.exp(np.clip(values, -20, 50))


def _log(values: Any) -> Any:
    return np.log(np.maximum(values, 1e-9))
