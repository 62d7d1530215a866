"""The page about a sweep: which parameters did best, how certain that is, the effect of each, what failed, how to repeat it."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from nbtools.report.charts import Chart, draw_curves, draw_effect
from nbtools.report.layout import finite, join_words, number, render_page, write_page_file
from nbtools.report.results import Results, points_of
from nbtools.runs.plan import SEED
from nbtools.runs.results import LEVEL, by_combination, read_results, write_tables
from nbtools.texts import duration, gigabytes

if TYPE_CHECKING:
    import pandas

Record = Mapping[str, Any]  # the content of sweep.json

MAX_CURVE_POINTS = 40  # per run, in the picture and in the table behind it
MAX_PAIRS = 6  # samples of the best run that are shown for a blind choice
MAX_VALUES = 12  # per parameter, to be drawn one by one; of more numbers, neighbours are drawn together in that many groups


def write_sweep_page(folder: Path) -> Path:
    """Write `index.html` into a sweep's folder, with its tables as CSV and Parquet in `tables/`; return the index.

    Each run's status.json and metrics.json are read once. Raises RunError where the folder holds no sweep.
    """
    results = read_results(folder)
    record, metrics, runs = results.record, results.metrics, results.table()
    write_tables(folder, runs)
    done = runs[runs["state"] == "done"]
    best = str(done.iloc[0]["run"]) if len(done) else ""
    page = render_page(
        "sweep.html",
        record=record,
        metric=_metric_name(record),
        level=f"{LEVEL:.0%}",
        runs=len(runs),
        done=len(done),
        failed=int((runs["state"] == "failed").sum()),
        seconds=float(runs["seconds"].sum()),
        best=float(done.iloc[0]["value"]) if best else None,
        parameters=join_words({name: done.iloc[0][name] for name in record["varied"]}) if best else "",
        combinations=_combinations(record, runs) if len(done) else [],
        curves=_curves(record, {run: metrics[run] for run in done["run"]}, best),
        effects=_effects(record, done),
        tuned=Results(metrics.get(best, {})),
        pairs=_pairs(metrics.get(best, {}), best),
        failures=_failures(record, results.statuses),
        table=_table(record, runs),
    )
    return write_page_file(folder / "index.html", page)


def _metric_name(record: Record) -> str:
    """The metric as words: "after.validation.bits_per_byte" is "bits per byte, validation, after"."""
    return ", ".join(part.replace("_", " ") for part in reversed(record["metric"].split(".")))


def _combinations(record: Record, runs: pandas.DataFrame) -> list[list[str]]:
    varied = [name for name in record["varied"] if name != SEED]
    if not varied:
        return []
    rows = []
    for row in by_combination(runs, record["varied"], record["better"]).to_dict("records"):
        interval = f"± {number(row['interval'], 4)}" if finite(row["interval"]) else "–"
        words = join_words({name: row[name] for name in varied})
        rows.append([words, str(row["runs"]), number(row["mean"], 4), number(row["deviation"], 4), interval])
    return rows


def _table(record: Record, runs: pandas.DataFrame) -> dict[str, Any]:
    names = [name.replace("_", " ") for name in record["varied"]]
    head = ["Run", "State", *names, _metric_name(record), "Validation perplexity", "Test perplexity", "Time", "Memory"]
    rows = []
    for row in runs.to_dict("records"):
        figures = [number(row["value"], 4), number(row["validation_perplexity"], 2), number(row["test_perplexity"], 2)]
        given = [_label(row[name]) for name in record["varied"]]
        rows.append([row["run"], row["state"], *given, *figures, duration(row["seconds"]), gigabytes(row["peak_memory_bytes"])])
    return {"head": head, "rows": rows}


def _label(value: Any) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _curves(record: Record, metrics: Mapping[str, Mapping[str, Any]], best: str) -> dict[str, Any] | None:
    """The learning curves of the finished runs in one chart, with the numbers behind it; None where the best run has none."""
    curves = {run: thin(points) for run, content in metrics.items() if (points := points_of(content.get("curve") or [], "loss"))}
    if best not in curves:
        return None
    first, last = curves[best][0][1], curves[best][-1][1]
    title = f"Training loss by step of {len(curves)} runs; the best, from {first:.2f} to {last:.2f}, stands out."
    labels = ("training step", "loss (nats per token)")
    given = {run["id"]: join_words({name: run["parameters"].get(name) for name in record["varied"]}) for run in record["runs"]}
    rows = [[run, given[run], ", ".join(f"{step:g}: {loss:.3f}" for step, loss in points)] for run, points in curves.items()]
    return {"chart": draw_curves(list(curves.values()), list(curves).index(best), labels, title), "rows": rows}


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_CURVE_POINTS of the points, the first and the last among them."""
    kept = numpy.linspace(0, len(points) - 1, min(len(points), MAX_CURVE_POINTS)).round()
    return [points[int(index)] for index in kept]


def _effects(record: Record, done: pandas.DataFrame) -> list[tuple[Chart, str, list[list[str]]]]:
    """A chart for each parameter with at least two values, its name, and the numbers behind it."""
    effects = []
    for name in record["varied"]:
        groups = group_values(done, name)
        if len(groups) < 2:
            continue
        means = [statistics.fmean(values) for _, values in groups]
        title = f"{_metric_name(record)} by {name}: means from {min(means):.4f} to {max(means):.4f}."
        chart = draw_effect(groups, (name, record["metric"].rpartition(".")[2].replace("_", " ")), title)
        rows = [
            [label, str(len(values)), number(mean, 4), number(min(values), 4), number(max(values), 4)]
            for mean, (label, values) in zip(means, groups, strict=True)
        ]
        effects.append((chart, name, rows))
    return effects


def group_values(done: pandas.DataFrame, name: str) -> list[tuple[str, list[float]]]:
    """The values of a parameter, in order, each with the metric of its runs; many numbers in groups of neighbours."""
    pairs = [(value, float(figure)) for value, figure in zip(done[name], done["value"], strict=True)]
    if all(finite(value) for value, _ in pairs):
        pairs.sort()
        if len({value for value, _ in pairs}) > MAX_VALUES:
            size = math.ceil(len(pairs) / MAX_VALUES)
            parts = [pairs[first : first + size] for first in range(0, len(pairs), size)]
            return [(f"{part[0][0]:g}–{part[-1][0]:g}", [figure for _, figure in part]) for part in parts]
    groups: dict[str, list[float]] = {}
    for value, figure in pairs:
        groups.setdefault(f"{value:g}" if finite(value) else str(value), []).append(figure)
    return list(groups.items())


def _pairs(metrics: Mapping[str, Any], best: str) -> list[dict[str, str]]:
    """Samples of the best run, before and after in an order that cannot be guessed, and which of them was written after."""
    pairs = []
    for index, sample in enumerate((metrics.get("samples") or [])[:MAX_PAIRS]):
        after_first = hashlib.sha256(f"{best} {index}".encode()).digest()[0] % 2 == 0
        texts = [sample.get("after", ""), sample.get("before", "")]
        first, second = texts if after_first else texts[::-1]
        pairs.append({"A": first, "B": second, "after": "A" if after_first else "B"})
    return pairs


def _failures(record: Record, statuses: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        statuses[run["id"]]["failure"] | {"run": run["id"], "parameters": run["parameters"]}
        for run in record["runs"]
        if statuses[run["id"]]["state"] == "failed"
    ]
