"""Curves and dots as hand-written SVG: no library, no script; the colours follow the page, dark or light."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nbtools.report.markup import escape

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 44  # margins, in units of the picture

Points = Sequence[tuple[float, float]]


class Frame:
    """Axes over given ranges; what is drawn in it is collected as SVG.

    x_marks  positions and labels along the x axis, where they are no round numbers
    """

    def __init__(
        self, xs: Sequence[float], ys: Sequence[float], labels: tuple[str, str], title: str, x_marks: Sequence[tuple[float, str]] = ()
    ):
        x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
        self.x_range = (min(xs), max(xs)) if x_marks else (x_ticks[0], x_ticks[-1])
        self.y_range = (y_ticks[0], y_ticks[-1])
        self.parts = [f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
        for tick in y_ticks:
            _, y = self.place(self.x_range[0], tick)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for tick, label in x_marks or [(tick, f"{tick:g}") for tick in x_ticks]:
            x, _ = self.place(tick, y_ticks[0])
            self.parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(label)}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.ends = [
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(labels[0])}</text>',
            f'<text x="13" y="{middle}" text-anchor="middle" transform="rotate(-90 13 {middle})">{escape(labels[1])}</text>',
        ]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_range[0]) / ((self.x_range[1] - self.x_range[0]) or 1.0)
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Points, kind: str = "line") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.place(*point) for point in points))
        self.parts.append(f'<polyline class="{kind}" points="{path}"/>')

    def dots(self, points: Points, kind: str = "dot", radius: float = 4) -> None:
        for x, y in (self.place(*point) for point in points):
            self.parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>')

    def svg(self) -> str:
        return "".join([*self.parts, *self.ends, "</svg>"])


def draw_curve(points: Points, x_label: str, y_label: str, title: str, kind: str = "line") -> str:
    """One curve as an SVG element.

    points  (x, y) in order of x, at least one
    kind    "line", or "dots" for few measured points, which are then joined and marked
    title   one sentence that stands in for the picture
    """
    frame = Frame([0.0, *(x for x, _ in points)], [y for _, y in points], (x_label, y_label), title)
    frame.line(points, kind)
    if kind == "dots" or len(points) == 1:
        frame.dots(points)
    return frame.svg()


def draw_curves(curves: Sequence[Points], chosen: int, x_label: str, y_label: str, title: str) -> str:
    """Many curves as one SVG element, all faint but the `chosen` one."""
    every = [point for points in curves for point in points]
    frame = Frame([0.0, *(x for x, _ in every)], [y for _, y in every], (x_label, y_label), title)
    for number, points in enumerate(curves):
        if number != chosen:
            frame.line(points, "line faint")
    frame.line(curves[chosen])
    return frame.svg()


def draw_effect(groups: Sequence[tuple[str, Sequence[float]]], x_label: str, y_label: str, title: str) -> str:
    """What came of each value of a parameter: a dot for each run, and a line through the means.

    groups  (label, figures) of each value, in the order of the axis, each with at least one figure
    """
    places = range(len(groups))
    marks = [(float(place), label) for place, (label, _) in zip(places, groups, strict=True)]
    frame = Frame([-0.5, len(groups) - 0.5], [figure for _, figures in groups for figure in figures], (x_label, y_label), title, marks)
    for place, (_, figures) in zip(places, groups, strict=True):
        frame.dots([(place, figure) for figure in figures], "dot faint", 3)
    means = [(float(place), math.fsum(figures) / len(figures)) for place, (_, figures) in zip(places, groups, strict=True)]
    frame.line(means, "dots")
    frame.dots(means)
    return frame.svg()


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
