"""What a parameter did over the runs of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, PURPLE, Picture, new_figure

if TYPE_CHECKING:
    import pandas

MARKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (GREY, "v"))  # told apart without colour too


def draw_sweep(table: pandas.DataFrame, x: str, lines: str, label: str = "bits per byte, validation") -> Picture:
    """Each finished run as a mark over parameter `x`, one line for each value of parameter `lines` through the means over the seeds.

    table  as `nbtools.sweep` returns it; where all runs began from the same figure (its column `before`), that is drawn too
    label  what the column `value` holds
    """
    done = table[table["state"] == "done"]
    places = {value: at for at, value in enumerate(sorted(done[x].unique()))}
    figure, ax = new_figure(width=6.5, height=3.2)
    words = []
    for number, (value, group) in enumerate(done.groupby(lines)):
        colour, mark = MARKS[number % len(MARKS)]
        ax.plot(group[x].map(places), group["value"], mark, color=colour, alpha=0.55, markersize=5)
        means = group.groupby(x)["value"].mean()
        ax.plot([places[one] for one in means.index], means, color=colour, marker=mark, label=f"{lines} {value}")
        words.append(f"{lines} {value}: " + ", ".join(f"{mean:.2f} at {one:g}" for one, mean in means.items()))
    begun = set(done["before"].dropna()) if "before" in done else set()
    if len(begun) == 1:
        [untrained] = begun
        ax.axhline(untrained, color=GREY, linestyle="--", label="untrained")
        words.append(f"untrained: {untrained:.2f}")
    ax.set_xticks(range(len(places)), [f"{value:g}" for value in places])
    ax.set_xlabel(x)
    ax.set_ylabel(label)
    ax.margins(x=0.15)
    ax.grid(axis="y", color=GREY, alpha=0.2)
    ax.legend(frameon=False, fontsize=8)
    return Picture(figure, f"{label} by {x}, means of the seeds; {'; '.join(words)}")
