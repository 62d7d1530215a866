"""The measured effect of mistakes: one of them, and all together."""

from __future__ import annotations

import math

from nbtools.pitfalls import MISTAKES, Pitfalls, times
from nbtools.plots.picture import BLUE, GREY, ORANGE, Picture, name_bars, new_figure
from nbtools.plots.table import Table

MAX_FACTOR = 100.0  # longer bars are cut there and labelled


def table_of_mistake(pitfalls: Pitfalls, name: str) -> Table:
    """A table of the metrics of one mistake, with and without it, a sample from each model, and the result of the bet."""
    finding = pitfalls.measure(name)
    rows = [list(row) for row in finding.rows]
    if finding.wrong and finding.right:
        rows.append(["what the model then writes", finding.wrong.sample, finding.right.sample])
    return Table(["figure", "with the mistake", "without it"], rows, caption=pitfalls.settle(name))


def table_of_mistakes(pitfalls: Pitfalls) -> Table:
    """A table of every measured mistake: its main metric, how many times worse that is, the verdict, and the bet."""
    rows = [
        [mistake.title, mistake.symptom, finding.headline, times(finding.factor), finding.verdict, pitfalls.bets.get(mistake.name, "–")]
        for mistake in MISTAKES
        if (finding := pitfalls.findings.get(mistake.name))
    ]
    return Table(["mistake", "symptom", "figure", "with it", "in a word", "your bet"], rows)


def draw_mistakes(pitfalls: Pitfalls) -> Picture:
    """How many times worse each measured mistake makes its main metric, on a log scale."""
    found = [(mistake.title, pitfalls.findings[mistake.name]) for mistake in MISTAKES if mistake.name in pitfalls.findings]
    figure, ax = new_figure(width=7.5, height=0.7 + 0.34 * len(found))
    for row, (_, finding) in enumerate(found):
        shown = min(max(finding.factor, 1 / MAX_FACTOR), MAX_FACTOR)
        colour = GREY if finding.verdict == "no difference" else BLUE if finding.verdict == "better" else ORANGE
        ax.barh(row, shown - 1, left=1, height=0.6, color=colour)
        label = f" {finding.factor:.3g} ×" if math.isclose(shown, finding.factor) else f" beyond {MAX_FACTOR:g} ×"
        ax.text(max(shown, 1), row, label, va="center", fontsize=8)
    ax.set(xscale="log", xlim=(0.5, MAX_FACTOR * 5), xlabel="times as bad as without the mistake (log scale)")
    ax.axvline(1, color=GREY, linewidth=0.8)
    name_bars(ax, [title for title, _ in found])
    ax.xaxis.set_major_formatter("{x:g}")
    return Picture(figure, "what each mistake costs: " + "; ".join(f"{title}: {times(finding.factor)}" for title, finding in found))
