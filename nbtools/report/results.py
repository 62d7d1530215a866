"""What fine-tuning did, as sections of a page: scores before and after, learning curves, texts side by side."""

from __future__ import annotations

from typing import Any

from nbtools.report.charts import draw_curve
from nbtools.report.layout import finite, number, table
from nbtools.report.markup import escape

# The columns of the table behind the curves, and their headings.
COLUMNS = {
    "step": "step",
    "loss": "loss (nats)",
    "learning_rate": "learning rate",
    "tokens": "tokens",
    "seconds": "seconds",
    "validation_perplexity": "validation perplexity",
}
MEANING = (
    "Perplexity: the model is as unsure of each next token as if it chose among so many equally likely ones. Bits per byte measures "
    "the same on the text itself, so it compares models with different tokenizers. Lower is better for both."
)


def show_scores(tuned: dict[str, Any]) -> str:
    """Perplexity large, with what it means, and a table of both measures; empty where nothing was measured on both sides."""
    before, after = tuned.get("before") or {}, tuned.get("after") or {}
    cards, rows = [], []
    for part in ("test", "validation"):
        was, now = before.get(part) or {}, after.get(part) or {}
        if all(finite(score.get("perplexity")) and score["perplexity"] > 0 for score in (was, now)):
            cards.append(_card(part, was, now))
        for key, label, digits in (("perplexity", "Perplexity", 2), ("bits_per_byte", "Bits per byte", 3)):
            if key in was and key in now:
                rows.append([f"{label}, {part}", number(was[key], digits), number(now[key], digits)])
    if not rows:
        return ""
    scores = table(["Measure", "Before", "After"], rows, numbers=True)
    head = "<h2>Before and after fine-tuning</h2>"
    return f'<section>{head}<div class="cards">{"".join(cards)}</div>{scores}<p class="note">{MEANING}</p></section>'


def _card(part: str, was: dict[str, Any], now: dict[str, Any]) -> str:
    fell = now["perplexity"] < was["perplexity"]
    times = was["perplexity"] / now["perplexity"] if fell else now["perplexity"] / was["perplexity"]
    change = f'<strong class="{"good" if fell else "bad"}">{times:.1f} times {"lower" if fell else "as high"}</strong>'
    reviews = (
        f"on {number(now['reviews'])} reviews that it was not trained on" if now.get("reviews") else "on reviews that it was not trained on"
    )
    return (
        f'<div class="card"><h3>Perplexity, {escape(part)} part</h3>'
        f'<p class="figure"><span>{number(was["perplexity"])}</span><span class="arrow" role="img" aria-label="became">→</span>'
        f"<b>{number(now['perplexity'])}</b></p><p>{change} {escape(reviews)}</p></div>"
    )


def show_curves(tuned: dict[str, Any]) -> str:
    """Training loss, and validation perplexity where it was measured on the way, each with the numbers behind it."""
    curve = tuned.get("curve") or []
    losses = [(point["step"], point["loss"]) for point in curve if finite(point.get("step")) and finite(point.get("loss"))]
    measured = [
        (point["step"], point["validation_perplexity"])
        for point in curve
        if finite(point.get("step")) and finite(point.get("validation_perplexity"))
    ]
    figures = ""
    if losses:
        title = f"Training loss by step: from {losses[0][1]:.2f} to {losses[-1][1]:.2f}."
        figures += _figure(draw_curve(losses, "training step", "loss (nats per token)", title), title)
    if measured:
        title = f"Validation perplexity by step: from {measured[0][1]:.1f} to {measured[-1][1]:.1f}."
        figures += _figure(draw_curve(measured, "training step", "perplexity", title, "dots"), title)
    if not figures:
        return ""
    keys = [key for key in COLUMNS if any(key in point for point in curve)]
    numbers = table([COLUMNS[key] for key in keys], [[_value(key, point.get(key)) for key in keys] for point in curve], numbers=True)
    details = f"<details><summary>The numbers</summary>{numbers}</details>"
    return f'<section><h2>How it learned</h2><div class="figures">{figures}</div>{details}</section>'


def _figure(drawn: str, title: str) -> str:
    return f"<figure>{drawn}<figcaption>{escape(title)}</figcaption></figure>"


def _value(key: str, value: Any) -> str:
    if key == "learning_rate":
        return f"{value:.2e}" if finite(value) else "–"
    return number(value, 1 if key in {"seconds", "validation_perplexity"} else 3)


def show_samples(tuned: dict[str, Any]) -> str:
    """Each prompt with what either model made of it, side by side; the prompt is set apart from what was written."""
    cards = ""
    for sample in tuned.get("samples") or []:
        how = [str(sample["decoding"])] if sample.get("decoding") else []
        how += [f"seed {sample['seed']}"] if sample.get("seed") is not None else []
        texts = "".join(
            f'<div><h4>{label}</h4><p class="sample">{_mark_prompt(sample.get(key, ""), sample["prompt"])}</p></div>'
            for key, label in (("before", "Before"), ("after", "After"))
        )
        head = f'<h3>“{escape(sample["prompt"])}”</h3><p class="note">{escape(", ".join(how))}</p>'
        cards += f'<article>{head}<div class="pair">{texts}</div></article>'
    return f"<section><h2>The same prompts, before and after</h2>{cards}</section>" if cards else ""


def _mark_prompt(text: str, prompt: str) -> str:
    if prompt and text.startswith(prompt):
        return f"<mark>{escape(prompt)}</mark>{escape(text[len(prompt) :])}"
    return escape(text)
