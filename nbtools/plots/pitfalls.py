"""The measured effect of mistakes: one of them, and all together."""

from __future__ import annotations

import math

from nbtools.pitfalls import MISTAKES, Pitfalls, range_of, times
from nbtools.pitfalls.mistakes import PERPLEXITY, UNDECIDED, Finding
from nbtools.plots.picture import BLUE, GREY, ORANGE, Picture, name_bars, new_figure
from nbtools.plots.table import Table

MAX_FACTOR = 100.0  # longer bars are cut there and labelled


def table_of_mistake(pitfalls: Pitfalls, name: str) -> Table:
    """A table of the metrics of one mistake, with it, without it and (of a training) before any training, with samples; and the bet."""
    finding = pitfalls.measure(name)
    rows = [list(row) for row in finding.rows]
    runs = [run for run in (finding.wrong, finding.right, finding.untrained) if run]
    if runs:
        rows.append(["what the model then writes", *(run.sample for run in runs)])
    columns = ["figure", "with the mistake", "without it", *(["untrained"] if finding.untrained else [])]
    return Table(columns, rows, caption=pitfalls.settle(name))


def table_of_mistakes(pitfalls: Pitfalls) -> Table:
    """A table of no training at all and of every measured mistake: its metric, how many times worse that is, the verdict, and the bet."""
    rows = [
        [title, symptom, finding.headline, f"{times(finding.factor)}{range_of(finding)}", finding.verdict, pitfalls.bets.get(name, "–")]
        for name, title, symptom, finding in _found(pitfalls)
    ]
    return Table(["mistake", "symptom", "figure", "with it", "in a word", "your bet"], rows)


def _found(pitfalls: Pitfalls) -> list[tuple[str, str, str, Finding]]:
    """Name, title, symptom and finding of everything that was measured; the untrained model first, if one was trained without mistakes."""
    found = []
    experiment = pitfalls.experiment
    if right := experiment.runs.get(("packed", experiment.seed)):  # drawing does not train
        factor = experiment.untrained.perplexity / right.perplexity
        found.append(("", "No training at all", "the model as it was", Finding(PERPLEXITY, factor, [])))
    for mistake in MISTAKES:
        if finding := pitfalls.findings.get(mistake.name):
            found.append((mistake.name, mistake.title, mistake.symptom, finding))
    return found


def draw_mistakes(pitfalls: Pitfalls) -> Picture:
    """How many times worse each measured mistake makes its main metric, on a log scale, with an interval where there is one."""
    found = [(title, finding) for _, title, _, finding in _found(pitfalls)]
    figure, ax = new_figure(width=7.5, height=0.7 + 0.34 * len(found))
    for row, (_, finding) in enumerate(found):
        shown = min(max(finding.factor, 1 / MAX_FACTOR), MAX_FACTOR)
        colour = GREY if finding.verdict in ("no difference", UNDECIDED) else BLUE if finding.verdict == "better" else ORANGE
        ax.barh(row, shown - 1, left=1, height=0.6, color=colour)
        if finding.interval:
            ax.plot(finding.interval, (row, row), color="black", linewidth=1)
        label = f" {finding.factor:.3g} ×" if math.isclose(shown, finding.factor) else f" beyond {MAX_FACTOR:g} ×"
        ax.text(max(shown, 1, (finding.interval or (1, 1))[1]), row, label, va="center", fontsize=8)
    ax.set(xscale="log", xlim=(0.5, MAX_FACTOR * 5), xlabel="times as bad as without the mistake (log scale)")
    ax.axvline(1, color=GREY, linewidth=0.8)
    name_bars(ax, [title for title, _ in found])
    ax.xaxis.set_major_formatter("{x:g}")
    return Picture(figure, "what each mistake costs: " + "; ".join(f"{title}: {times(finding.factor)}" for title, finding in found))
