"""A classifier's accuracy and confusion matrix, and the cross-attention of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbtools.plots.picture import BLUE, GREY, Picture, name_bars, new_figure
from nbtools.tasks import Classified


def draw_accuracies(found: Sequence[Classified]) -> Picture:
    """Each classifier's accuracy with its 95 % interval, and a line at chance level."""
    figure, ax = new_figure(width=7.5, height=0.8 + 0.4 * len(found))
    for row, result in enumerate(found):
        low, high = result.interval
        ax.plot([low, high], [row, row], color=BLUE, linewidth=2)
        ax.plot(result.accuracy, row, "o", color=BLUE)
        ax.text(high + 0.01, row, f"{result.accuracy:.1%}", va="center", fontsize=8)
    ax.axvline(0.5, color=GREY, linestyle="--", linewidth=0.8)
    name_bars(ax, [result.name for result in found])
    ax.set(xlim=(0.4, 1.0), xlabel="accuracy on held-out reviews, with 95 % intervals; dashed: guessing")
    return Picture(figure, "accuracy on held-out reviews: " + "; ".join(map(repr, found)))


def draw_confusion(found: Classified) -> Picture:
    """The confusion matrix: rows are true labels, columns are predictions."""
    table = found.confusion()
    figure, ax = new_figure(width=3.4, height=2.6)
    ax.imshow(table, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(table):
        ax.text(column, row, str(count), ha="center", va="center", color="white" if count > table.max() * 0.6 else "black")
    names = ["negative", "positive"]
    ax.set(xticks=[0, 1], xticklabels=names, yticks=[0, 1], yticklabels=names, xlabel="guessed", ylabel="true")
    words = f"{table[0][0]} negative and {table[1][1]} positive right; {table[0][1]} negative called positive, {table[1][0]} the other way"
    return Picture(figure, f"confusion of {found.name}: {words}")


def draw_looking(weights: np.ndarray, source: str, target: str) -> Picture:
    """The cross-attention of each letter of the answer to the letters of the source.

    weights  float [len(target), len(source)]; rows sum to at most 1
    source   the text that the encoder read
    target   the text that the decoder wrote
    """
    figure, ax = new_figure(width=1.2 + 0.28 * len(source), height=1.0 + 0.26 * len(target))
    image = ax.imshow(weights, cmap="cividis", vmin=0, aspect="auto")
    figure.colorbar(image, ax=ax, label="attention weight", shrink=0.9)
    ax.set_xticks(range(len(source)), list(source.replace(" ", "␣")), fontsize=8)
    ax.set_yticks(range(len(target)), list(target), fontsize=8)
    ax.set(xlabel="read by the encoder", ylabel="written by the decoder")
    ax.set_title("cross-attention, mean of all heads of the last layer", fontsize=9, loc="left")
    pairs = ", ".join(f"{letter} at {source[int(row.argmax())]!r}" for letter, row in list(zip(target, weights, strict=True))[:4])
    return Picture(figure, f"cross-attention while writing {target} from “{source}”; most looked at: {pairs}")
