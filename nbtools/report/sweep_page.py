"""The page about a sweep: which parameters did best, how sure that is, what each did, what failed, how to do it again."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.report.charts import draw_curves, draw_effect
from nbtools.report.layout import duration, finite, join_words, number, table, wrap_page, write_html
from nbtools.report.markup import escape
from nbtools.report.results import show_samples, show_scores
from nbtools.runs.plan import SEED
from nbtools.runs.results import LEVEL, SweepResults, by_combination, read_results, write_tables

if TYPE_CHECKING:
    import pandas

CURVE_POINTS = 40  # of each run's curve, in the picture and in the table behind it
PAIRS = 6  # samples of the best run that are shown for a blind choice
MOST_VALUES = 12  # of a parameter, to be drawn one by one; drawn values are put into so many groups


def write_sweep_page(folder: Path) -> Path:
    """Write `index.html` into a sweep's folder, with its tables as CSV and Parquet beside it; return the index.

    Raises RunError where the folder holds no sweep.
    """
    results = read_results(folder)
    record, runs = results.record, results.table()
    write_tables(folder, runs)
    done = runs[runs["state"] == "done"]
    best = str(done.iloc[0]["run"]) if len(done) else ""
    metrics = {run: results.metrics[run] for run in done["run"]}
    parts = [
        _heading(record, runs),
        _combinations(record, runs),
        _curves(record, metrics, best),
        _effects(record, done),
        show_scores(metrics.get(best, {})),
        _blind(metrics.get(best, {}), best),
        _failures(results),
        _runs(record, runs),
        _setting(folder, record),
    ]
    return write_html(folder / "index.html", wrap_page("A sweep", "<main>" + "\n".join(part for part in parts if part) + "</main>"))


def _heading(record: Mapping[str, Any], runs: pandas.DataFrame) -> str:
    counts = runs["state"].value_counts()
    failed = int(counts.get("failed", 0))
    unfinished = len(runs) - failed - int(counts.get("done", 0))
    took = duration(float(runs["seconds"].sum()))
    lead = f"{counts.get('done', 0)} of {len(runs)} runs of “{record['title']}” are done, in {took} of running."
    ends = f' <strong class="bad">{failed} failed.</strong>' if failed else ""
    ends += f" {unfinished} are still to be made." if unfinished else ""
    found = ""
    if counts.get("done", 0):
        row = runs.iloc[0]
        given = join_words({name: row[name] for name in record["varied"]}) or "the notebook's own parameters"
        found = f"<p>Best: <strong>{number(float(row['value']), 4)}</strong> ({escape(_name(record))}) with {escape(given)}.</p>"
    return f"<header><h1>A sweep: {escape(record['title'])}</h1><p>{escape(lead)}{ends}</p>{found}</header>"


def _combinations(record: Mapping[str, Any], runs: pandas.DataFrame) -> str:
    varied = [name for name in record["varied"] if name != SEED]
    if not varied or not (runs["state"] == "done").any():
        return ""
    rows = [
        [join_words({name: row[name] for name in varied}), str(row["runs"]), number(row["mean"], 4), number(row["deviation"], 4),
         f"± {number(row['interval'], 4)}" if finite(row["interval"]) else "–"]
        for row in by_combination(runs, record["varied"], record["better"]).to_dict("records")
    ]  # fmt: skip
    head = ["Parameters", "Runs", "Mean", "Deviation", f"{LEVEL:.0%} interval"]
    note = (
        f"{escape(_name(record))}; {escape(record['better'])} is better. Over the seeds: mean, deviation, and half of the interval "
        f"of the mean by Student’s t. Rows whose intervals overlap may well be equally good. The best of many is so partly by luck: "
        f"its figure on the test part, never chosen by, is the one to report."
    )
    return f'<section><h2>What did best</h2>{table(head, rows, numbers=True)}<p class="note">{note}</p></section>'


def _runs(record: Mapping[str, Any], runs: pandas.DataFrame) -> str:
    varied = record["varied"]
    rows = [
        [row["run"], row["state"], *(_value(row[name]) for name in varied), number(row["value"], 4),
         number(row["validation_perplexity"], 2), number(row["test_perplexity"], 2), duration(row["seconds"]),
         _gigabytes(row["peak_memory_bytes"])]
        for row in runs.to_dict("records")
    ]  # fmt: skip
    words = [name.replace("_", " ") for name in varied]
    head = ["Run", "State", *words, _name(record), "Validation perplexity", "Test perplexity", "Time", "Memory"]
    links = '<a href="tables/runs.csv">CSV</a>, <a href="tables/runs.parquet">Parquet</a>'
    return f'<section><h2>Every run</h2>{table(head, rows, numbers=True)}<p class="note">The same as {links}.</p></section>'


def _curves(record: Mapping[str, Any], metrics: Mapping[str, dict[str, Any]], best: str) -> str:
    curves = {run: points for run, one in metrics.items() if (points := _thinned(_losses(one)))}
    if best not in curves:
        return ""
    title = (
        f"Training loss by step of {len(curves)} runs; the best, from {curves[best][0][1]:.2f} to {curves[best][-1][1]:.2f}, stands out."
    )
    drawn = draw_curves(list(curves.values()), list(curves).index(best), "training step", "loss (nats per token)", title)
    given = {run["id"]: join_words({name: run["parameters"].get(name) for name in record["varied"]}) for run in record["runs"]}
    rows = [[run, given[run], ", ".join(f"{step:g}: {loss:.3f}" for step, loss in points)] for run, points in curves.items()]
    numbers = f"<details><summary>The numbers</summary>{table(['Run', 'Parameters', 'Step: loss'], rows)}</details>"
    figure = f'<figure class="wide">{drawn}<figcaption>{escape(title)}</figcaption></figure>'
    return f"<section><h2>How they learned</h2>{figure}{numbers}</section>"


def _losses(metrics: Mapping[str, Any]) -> list[tuple[float, float]]:
    rows = metrics.get("curve") or []
    return [(row["step"], row["loss"]) for row in rows if finite(row.get("step")) and finite(row.get("loss"))]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most CURVE_POINTS of the points, the first and the last among them."""
    if len(points) <= CURVE_POINTS:
        return list(points)
    return [points[round(place * (len(points) - 1) / (CURVE_POINTS - 1))] for place in range(CURVE_POINTS)]


def _effects(record: Mapping[str, Any], done: pandas.DataFrame) -> str:
    figures = ""
    for name in record["varied"]:
        groups = _groups(done, name)
        if len(groups) < 2:
            continue
        means = {label: math.fsum(values) / len(values) for label, values in groups}
        title = f"{_name(record)} by {name}: means from {min(means.values()):.4f} to {max(means.values()):.4f}."
        drawn = draw_effect(groups, name, record["metric"].rpartition(".")[2].replace("_", " "), title)
        rows = [
            [label, str(len(values)), number(means[label], 4), number(min(values), 4), number(max(values), 4)] for label, values in groups
        ]
        numbers = f"<details><summary>The numbers</summary>{table([name, 'Runs', 'Mean', 'Least', 'Most'], rows, numbers=True)}</details>"
        figures += f"<figure>{drawn}<figcaption>{escape(title)}</figcaption>{numbers}</figure>"
    if not figures:
        return ""
    note = "A dot is a run, a line joins the means over all other parameters. What two parameters do together is not in it: see the table."
    return f'<section><h2>What each parameter did</h2><div class="figures">{figures}</div><p class="note">{note}</p></section>'


def _groups(done: pandas.DataFrame, name: str) -> list[tuple[str, list[float]]]:
    """The values of a parameter, in order, each with the metric of its runs; many numbers in groups of neighbours."""
    pairs = [(value, float(figure)) for value, figure in zip(done[name], done["value"], strict=True)]
    if all(finite(value) for value, _ in pairs):
        pairs.sort()
        values = sorted({value for value, _ in pairs})
        if len(values) > MOST_VALUES:
            size = math.ceil(len(pairs) / MOST_VALUES)
            parts = [pairs[first : first + size] for first in range(0, len(pairs), size)]
            return [(f"{part[0][0]:g}–{part[-1][0]:g}", [figure for _, figure in part]) for part in parts]
    groups: dict[str, list[float]] = {}
    for value, figure in pairs:
        label = f"{value:g}" if finite(value) else str(value)
        groups.setdefault(label, []).append(figure)
    return list(groups.items())


def _blind(metrics: Mapping[str, Any], best: str) -> str:
    """Samples of the best run, before and after in an order that cannot be guessed; which is which stands folded below."""
    cards = ""
    samples = metrics.get("samples") or []
    for place, sample in enumerate(samples[:PAIRS]):
        after_first = hashlib.sha256(f"{best} {place}".encode()).digest()[0] % 2 == 0
        texts = [sample.get("after", ""), sample.get("before", "")]
        first, second = texts if after_first else texts[::-1]
        answer = f"Text {'A' if after_first else 'B'} was written after fine-tuning."
        pair = "".join(
            f'<div><h4>Text {letter}</h4><p class="sample">{escape(text)}</p></div>' for letter, text in (("A", first), ("B", second))
        )
        folded = f"<details><summary>Which one is it?</summary><p>{answer}</p></details>"
        cards += f'<article><div class="pair">{pair}</div>{folded}</article>'
    if not cards:
        return ""
    note = "One of each pair was written by the model before fine-tuning, one after, with the same seed. Choose first, then look."
    shown = f"<details><summary>All of its samples, named</summary>{show_samples(dict(metrics))}</details>"
    return f'<section><h2>Can you tell?</h2><p class="note">{note}</p>{cards}{shown}</section>'


def _failures(results: SweepResults) -> str:
    cards = ""
    for run in results.record["runs"]:
        status = results.statuses[run["id"]]
        if status["state"] != "failed":
            continue
        failure = status["failure"]
        where = f", code cell {failure['cell']}" if failure.get("cell") else ""
        head = f"<h3>{escape(run['id'])}{where}: {escape(failure['reason'])}</h3><p>{escape(join_words(run['parameters']))}</p>"
        source = f'<pre class="source" tabindex="0">{escape(failure["source"])}</pre>' if failure.get("source") else ""
        cards += f'<article class="failed">{head}{source}<pre tabindex="0">{escape(chr(10).join(failure.get("lines", [])))}</pre></article>'
    return f"<section><h2>What failed</h2>{cards}</section>" if cards else ""


def _setting(folder: Path, record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    command = shlex.join(record["command"])
    facts = {
        "To run it again": f"{command} (what is done is kept; in an empty folder all of it is made anew)",
        "What was asked": json.dumps(record["asked"], ensure_ascii=False, default=str),
        "Notebook": record["notebook"], "Made by": record["executor"], "Begun": f"{record['created'][:16].replace('T', ' ')} UTC",
        "Machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, {machine['system']}",
        "Versions": join_words({"nbtools": record["nbtools"], "Python": record["python"], **record["versions"]}),
        "This package": f"SHA-256 {record['package_sha256']} of its sources and weights",
        "All packages": f"SHA-256 {record['packages_sha256']} of packages.txt, which pip can install from",
        "To cite it": (
            f"“{record['title']}”, a sweep of {len(record['runs'])} runs with attention-to-finetuning {record['nbtools']}, "
            f"{record['created'][:10]}, package {record['package_sha256'][:12]}. See CITATION.cff."
        ),
    }  # fmt: skip
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<section><h2>How it was made, and how to make it again</h2><dl>{items}</dl></section>"


def _name(record: Mapping[str, Any]) -> str:
    """The metric as words: "after.validation.bits_per_byte" is "bits per byte, validation, after"."""
    return ", ".join(part.replace("_", " ") for part in reversed(record["metric"].split(".")))


def _value(given: Any) -> str:
    return "–" if given is None or given != given else f"{given:g}" if isinstance(given, (int, float)) else str(given)


def _gigabytes(count: Any) -> str:
    return f"{count / 1e9:.2f} GB" if finite(count) else "–"
