"""Figures of decoding: next-token probabilities, the effect of temperature, sampling cutoffs, and the time that the cache saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nbtools.generation import NextTokens
from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, PURPLE, Picture, drawable, name_bars, new_figure
from nbtools.tokens import visible


def draw_next_tokens(following: NextTokens, count: int = 12, title: str = "") -> Picture:
    """Bars for the `count` likeliest next tokens, and one grey bar for all others together. A long title is cut at the start."""
    kept = int(np.count_nonzero(following.probabilities[:count]))
    texts = [visible(text) for text in following.texts(kept)]
    probabilities = following.probabilities[:kept].tolist()
    others = max(0.0, 1.0 - sum(probabilities))
    left = int(np.count_nonzero(following.probabilities)) - kept
    figure, ax = new_figure(width=6.0, height=0.9 + 0.26 * (kept + 1))
    rows = range(kept + (left > 0))
    ax.barh(rows, probabilities + ([others] if left > 0 else []), color=[BLUE] * kept + [GREY])
    name_bars(ax, texts + ([f"{left:,} others"] if left > 0 else []))
    for row, probability in enumerate(probabilities):
        ax.text(probability, row, f" {probability:.1%}", va="center", fontsize=8)
    ax.set(xlim=(0, 1.12 * max([*probabilities, others if left > 0 else 0.0])), xlabel="probability")
    if title:
        ax.set_title(_shorten(title, 60), fontsize=9, loc="left", parse_math=False)
    first = ", ".join(f"“{text}” {probability:.1%}" for text, probability in list(zip(texts, probabilities, strict=True))[:3])
    return Picture(figure, f"the {kept} likeliest next tokens, first {first}; the {left:,} others together {others:.1%}")


def draw_temperatures(by_temperature: Mapping[float, NextTokens]) -> Picture:
    """Probability against rank at each temperature (left, both axes logarithmic) and the entropy in bits (right)."""
    figure, (left, right) = new_figure(1, 2, width=9.0, height=3.2, width_ratios=[3, 2])
    colours = [BLUE, GREEN, GREY, ORANGE, PURPLE]
    for index, (temperature, following) in enumerate(by_temperature.items()):
        ranks = np.arange(1, len(following.probabilities) + 1)
        left.plot(ranks, following.probabilities, color=colours[index % len(colours)], label=f"temperature {temperature:g}")
    left.set(xscale="log", yscale="log", ylim=(1e-8, 1.5), xlabel="rank of the token", ylabel="probability")
    left.legend(frameon=False, fontsize=8)
    bits = [following.entropy for following in by_temperature.values()]
    right.plot(list(by_temperature), bits, "o-", color=BLUE)
    right.set(xlabel="temperature", ylabel="entropy (bits)", ylim=(0, 1.1 * max(bits)))
    words = ", ".join(f"{bit:.1f} bits at {temperature:g}" for temperature, bit in zip(by_temperature, bits, strict=True))
    return Picture(figure, f"the next token's distribution flattens as the temperature grows: entropy {words}")


def draw_cuts(distributions: Mapping[str, NextTokens], cuts: Mapping[str, Sequence[int]]) -> Picture:
    """Probability against rank for each prompt, with a line at the cutoff of each sampling method.

    distributions  by prompt, the distribution before any method is applied
    cuts           by method, the number of tokens that it keeps for each prompt, in the order of `distributions`
    """
    figure, axes = new_figure(1, len(distributions), width=4.5 * len(distributions), height=3.2, squeeze=False, sharey=True)
    for index, (ax, (prompt, following)) in enumerate(zip(axes[0], distributions.items(), strict=True)):
        ranks = np.arange(1, len(following.probabilities) + 1)
        ax.plot(ranks, following.probabilities, color=GREY)
        for (method, kept), colour, style in zip(cuts.items(), (BLUE, ORANGE, GREEN, PURPLE), ("--", "-", ":", "-."), strict=False):
            ax.axvline(kept[index], color=colour, linestyle=style, label=f"{method}: {kept[index]:,}")
        ax.set(xscale="log", yscale="log", ylim=(1e-8, 1), xlabel="rank of the token")
        ax.set_title(_shorten(prompt), fontsize=9, loc="left", parse_math=False)
        ax.legend(framealpha=1, edgecolor="none", fontsize=8, title="tokens kept", title_fontsize=8, loc="lower left")
    axes[0][0].set_ylabel("probability")
    words = "; ".join(
        f"after “{_shorten(prompt)}” " + ", ".join(f"{method} keeps {kept[index]:,}" for method, kept in cuts.items())
        for index, prompt in enumerate(distributions)
    )
    return Picture(figure, f"sorted probabilities with the cut of each method: {words}")


def draw_cache(lengths: Sequence[int], without: Sequence[float], with_cache: Sequence[float]) -> Picture:
    """Time to generate text with and without the key-value cache.

    lengths     numbers of new tokens
    without     seconds for each length without the cache
    with_cache  seconds for each length with it
    """
    figure, ax = new_figure(width=6.5, height=3.0)
    ax.plot(lengths, without, "o-", color=ORANGE, label="no cache: the complete text again for every token")
    ax.plot(lengths, with_cache, "s-", color=BLUE, label="cache: one token at a time")
    ax.set(xlabel="new tokens", ylabel="seconds", ylim=(0, None))
    ax.set_xticks(list(lengths))
    ax.legend(frameon=False, fontsize=8)
    return Picture(figure, f"seconds to write up to {lengths[-1]} tokens, with the key-value cache and without")


def _shorten(prompt: str, limit: int = 40) -> str:
    """The end of a prompt, which matters most for the next token."""
    return drawable(prompt if len(prompt) <= limit else "…" + prompt[1 - limit :])
