"""What fine-tuning did, prepared for a page: scores before and after, learning curves, texts side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbtools.report.charts import Chart, draw_curve
from nbtools.report.layout import finite, number

# The columns of the table behind the curves, their headings and their digits.
COLUMNS = {
    "step": ("step", 3),
    "loss": ("loss (nats)", 3),
    "learning_rate": ("learning rate", 3),
    "tokens": ("tokens", 3),
    "seconds": ("seconds", 1),
    "validation_perplexity": ("validation perplexity", 1),
}
MEASURES = (("perplexity", "Perplexity", 2), ("bits_per_byte", "Bits per byte", 3))


class Results:
    """The parts of a page that show one fine-tuning, from its metrics.json; each is empty where its figures are missing."""

    def __init__(self, tuned: Mapping[str, Any]) -> None:
        before, after = tuned.get("before") or {}, tuned.get("after") or {}
        self.cards: list[dict[str, Any]] = []
        self.rows: list[list[str]] = []
        for part in ("test", "validation"):
            self._add_scores(part, before.get(part) or {}, after.get(part) or {})
        curve = tuned.get("curve") or []
        keys = [key for key in COLUMNS if any(key in point for point in curve)]
        self.charts: list[Chart] = []
        if losses := points_of(curve, "loss"):
            title = f"Training loss by step: from {losses[0][1]:.2f} to {losses[-1][1]:.2f}."
            self.charts.append(draw_curve(losses, ("training step", "loss (nats per token)"), title))
        if measured := points_of(curve, "validation_perplexity"):
            title = f"Validation perplexity by step: from {measured[0][1]:.1f} to {measured[-1][1]:.1f}."
            self.charts.append(draw_curve(measured, ("training step", "perplexity"), title, "dots"))
        self.columns = [COLUMNS[key][0] for key in keys]
        self.steps = [[_value(key, point.get(key)) for key in keys] for point in curve]
        self.samples = tuned.get("samples") or []

    def _add_scores(self, part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        was, now = before.get("perplexity"), after.get("perplexity")
        if finite(was) and finite(now) and min(was, now) > 0:
            fell = now < was
            change = f"{was / now:.1f} times lower" if fell else f"{now / was:.1f} times as high"
            self.cards.append({"part": part, "was": was, "now": now, "fell": fell, "change": change, "reviews": after.get("reviews")})
        for key, label, digits in MEASURES:
            if key in before and key in after:
                self.rows.append([f"{label}, {part}", number(before[key], digits), number(after[key], digits)])


def points_of(curve: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value) of each row of a learning curve that has both."""
    return [(row["step"], row[key]) for row in curve if finite(row.get("step")) and finite(row.get(key))]


def _value(key: str, value: Any) -> str:
    if key == "learning_rate":
        return f"{value:.2e}" if finite(value) else "–"
    return number(value, COLUMNS[key][1])
