"""The effect of a parameter over the runs of a sweep."""

from __future__ import annotations

import pandas

from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, PURPLE, Picture, new_figure

MARKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (GREY, "v"))  # distinguishable without colour, too


def draw_sweep(table: pandas.DataFrame, x: str, lines: str, label: str = "bits per byte, validation") -> Picture:
    """The result of each finished run against parameter `x`, with lines through the means over the seeds.

    table  the result of `nbtools.sweep`; if all runs have the same value in its column `before`, that is drawn as a line, too
    x      a parameter, on the horizontal axis
    lines  another parameter; each of its values has its own colour and line
    label  the name of the column `value`
    """
    done = table[table["state"] == "done"]
    positions = {value: index for index, value in enumerate(sorted(done[x].unique()))}
    figure, ax = new_figure(width=6.5, height=3.2)
    words = []
    for number, (value, group) in enumerate(done.groupby(lines)):
        colour, mark = MARKS[number % len(MARKS)]
        ax.plot(group[x].map(positions), group["value"], mark, color=colour, alpha=0.55, markersize=5)
        means = group.groupby(x)["value"].mean()
        ax.plot([positions[setting] for setting in means.index], means, color=colour, marker=mark, label=f"{lines} {value}")
        words.append(f"{lines} {value}: " + ", ".join(f"{mean:.2f} at {setting:g}" for setting, mean in means.items()))
    before = set(done["before"].dropna()) if "before" in done else set()
    if len(before) == 1:
        [untrained] = before
        ax.axhline(untrained, color=GREY, linestyle="--", label="untrained")
        words.append(f"untrained: {untrained:.2f}")
    ax.set_xticks(range(len(positions)), [f"{value:g}" for value in positions])
    ax.set(xlabel=x, ylabel=label)
    ax.margins(x=0.15)
    ax.grid(axis="y", color=GREY, alpha=0.2)
    ax.legend(frameon=False, fontsize=8)
    return Picture(figure, f"{label} by {x}, means of the seeds; {'; '.join(words)}")
