"""Curves and dots as SVG, without a library or a script; the colours follow the page, dark or light."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from nbtools.report.layout import PAGES

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 44  # margins, in units of the picture

Points = Sequence[tuple[float, float]]


class Chart:
    """Axes over the range of some points, and the lines and dots in it, in units of the picture.

    points   decide the ranges
    labels   of the x axis and of the y axis
    title    one sentence that describes the picture to people who do not see it
    x_marks  positions and labels along the x axis, where they are not round numbers
    """

    width, height, left, right, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)

    def __init__(self, points: Points, labels: tuple[str, str], title: str, x_marks: Sequence[tuple[float, str]] = ()) -> None:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
        self.x_range = (min(xs), max(xs)) if x_marks else (x_ticks[0], x_ticks[-1])
        self.y_range = (y_ticks[0], y_ticks[-1])
        self.labels, self.title = labels, title
        self.x_marks = [(self._position(x, 0)[0], label) for x, label in x_marks or [(tick, f"{tick:g}") for tick in x_ticks]]
        self.y_marks = [(self._position(0, tick)[1], f"{tick:g}") for tick in y_ticks]
        self.shapes: list[tuple[str, float, Points]] = []  # CSS class, radius of the dots (0: a line), positions; later ones on top

    def _position(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_range[0]) / ((self.x_range[1] - self.x_range[0]) or 1.0)
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return round(self.left + across * (self.right - self.left), 1), round(self.bottom - up * (self.bottom - TOP), 1)

    def add(self, points: Points, kind: str, radius: float = 0) -> None:
        """Add dots, or a line if `radius` is 0; `kind` is the CSS class."""
        self.shapes.append((kind, radius, [self._position(*point) for point in points]))

    def svg(self) -> Markup:
        return PAGES.render("chart.svg", chart=self)


def draw_curve(points: Points, labels: tuple[str, str], title: str, kind: str = "line") -> Chart:
    """One curve.

    points  (x, y) in order of x, at least one
    kind    "line", or "dots" for few measured points, which are then joined and marked
    """
    chart = Chart([(0.0, points[0][1]), *points], labels, title)
    chart.add(points, kind)
    if kind == "dots" or len(points) == 1:
        chart.add(points, "dot", 4)
    return chart


def draw_curves(curves: Sequence[Points], best: int, labels: tuple[str, str], title: str) -> Chart:
    """Many curves, all faint except number `best`."""
    points = [point for curve in curves for point in curve]
    chart = Chart([(0.0, points[0][1]), *points], labels, title)
    for curve in [*curves[:best], *curves[best + 1 :]]:
        chart.add(curve, "line faint")
    chart.add(curves[best], "line")
    return chart


def draw_effect(groups: Sequence[tuple[str, Sequence[float]]], labels: tuple[str, str], title: str) -> Chart:
    """The results for each value of a parameter: one dot per run, and a line through the means.

    groups  (label, figures) of each value, in the order of the axis, each with at least one figure
    """
    points = [(float(index), figure) for index, (_, figures) in enumerate(groups) for figure in figures]
    ends = [(-0.5, points[0][1]), (len(groups) - 0.5, points[0][1])]
    chart = Chart([*points, *ends], labels, title, [(float(index), label) for index, (label, _) in enumerate(groups)])
    chart.add(points, "dot faint", 3)
    means = [(float(index), statistics.fmean(figures)) for index, (_, figures) in enumerate(groups)]
    chart.add(means, "dots")
    chart.add(means, "dot", 4)
    return chart


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    return [round(float(mark), 10) for mark in MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(low, high)]
