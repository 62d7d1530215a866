"""The page about one run: what came of it, what was run, and each executed notebook to read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from nbtools.errors import RunError
from nbtools.report.layout import bar, duration, finite, join_words, number, wrap_page, write_html
from nbtools.report.markup import escape
from nbtools.report.notebook_page import render_notebook
from nbtools.report.results import show_curves, show_samples, show_scores
from nbtools.runs.metrics import FINETUNE
from nbtools.runtime import resolve_path
from nbtools.runtime.foreign import Is, Maybe, read_json

SCHEMA = 1
FAILURE = {"reason": Maybe(str, "failed"), "cell": Maybe(int, 0), "lines": Maybe([str], [])}
ENTRY = {
    "state": str, "title": Maybe(str), "parameters": Maybe(dict, {}), "seconds": Maybe(float), "peak_memory_bytes": Maybe(float),
    "failure": Maybe(FAILURE),
}  # fmt: skip
METRICS = {
    "schema": Is(SCHEMA), "kind": Is("run"), "created": Maybe(str, "unknown"), "command": Maybe([str], []), "nbtools": Maybe(str),
    "versions": Maybe(dict, {}), "machine": Maybe({"memory_bytes": Maybe(float, 0)}, {"memory_bytes": 0}), "memory_method": Maybe(str, ""),
    "notebooks": {str: ENTRY}, "finetune": Maybe(FINETUNE),
}  # fmt: skip
STATES = {"done": "done", "failed": "failed", "waiting": "not run", "running": "interrupted", "stopped": "interrupted"}


def write_run_page(folder: str | Path) -> Path:
    """Write `index.html` into a run's folder, and `notebooks/NAME.html` for each executed notebook; return the index.

    Reads the folder's `metrics.json`. Raises RunError where there is none, or another version of nbtools wrote it.
    """
    folder = resolve_path(folder)
    metrics = read_json(folder / "metrics.json", METRICS, "Run the notebooks again with this nbtools.", RunError, absent=None)
    if metrics is None:
        raise RunError(f"{folder} holds no metrics.json of a run.", "Run the notebooks first: nbtools run --out DIR")
    if strange := [name for name in metrics["notebooks"] if PurePath(name).name != name or "\\" in name or name in (".", "..")]:
        raise RunError(
            f"The metrics in {folder} name a notebook {strange[0]!r}, which is a path.", "Run the notebooks again with this nbtools."
        )
    copies = {name: copy for name in metrics["notebooks"] if (copy := _executed_copy(folder, name))}
    for name, copy in copies.items():
        title = metrics["notebooks"][name].get("title", name)
        write_html(folder / "notebooks" / f"{name}.html", render_notebook(copy, title, list(copies)))
    return write_html(folder / "index.html", _render(metrics, copies))


def _executed_copy(folder: Path, name: str) -> Path | None:
    for file in (folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"):
        if file.is_file():
            return file
    return None


def _render(metrics: dict[str, Any], copies: Mapping[str, Path]) -> str:
    tuned = metrics.get("finetune") or {}
    parts = [_heading(metrics), show_scores(tuned), show_curves(tuned), show_samples(tuned)]
    parts += [_notebooks(metrics, copies), _setting(metrics, tuned)]
    return wrap_page("A run of the course", "<main>" + "\n".join(part for part in parts if part) + "</main>")


def _heading(metrics: dict[str, Any]) -> str:
    entries = metrics["notebooks"]
    done = sum(entry["state"] == "done" for entry in entries.values())
    failed = [name for name, entry in entries.items() if entry["state"] == "failed"]
    how_many = f"{done} of {len(entries)} notebooks ran" if done < len(entries) else f"{done} notebook{'s' if done > 1 else ''} ran"
    when = metrics["created"][:16].replace("T", " ")
    end = ' <strong class="bad">One stopped with an error.</strong>' if failed else ""
    lead = f"{how_many} in {duration(sum(entry.get('seconds', 0) for entry in entries.values()))}, started {escape(when)} UTC.{end}"
    failures = "".join(_failure(name, entries[name]) for name in failed)
    return f"<header><h1>From attention to fine-tuning: a run of the course</h1><p>{lead}</p></header>{failures}"


def _failure(name: str, entry: dict[str, Any]) -> str:
    failure = entry.get("failure", {})
    where = f", code cell {failure['cell']}" if failure.get("cell") else ""
    reason, lines = escape(failure.get("reason", "failed")), escape("\n".join(failure.get("lines", [])))
    return f'<section class="failed"><h2>{escape(name)}{where}: {reason}</h2><pre tabindex="0">{lines}</pre></section>'


def _notebooks(metrics: dict[str, Any], copies: Mapping[str, Path]) -> str:
    entries = metrics["notebooks"]
    longest = max((entry.get("seconds", 0) for entry in entries.values()), default=0) or 1
    largest = max((entry.get("peak_memory_bytes", 0) for entry in entries.values()), default=0) or 1
    rows = ""
    for name, entry in entries.items():
        title = read = escape(entry.get("title", name))
        if name in copies:
            read = f'<a href="notebooks/{escape(name)}.html">{title}</a>'
            read += f'<a class="file" href="{escape(copies[name].name)}">{escape(copies[name].name)}</a>'
        state = STATES.get(entry["state"], entry["state"])
        mark = "" if state == "done" else f' <strong class="bad">{escape(state)}</strong>'
        seconds, memory = entry.get("seconds"), entry.get("peak_memory_bytes")
        took = bar(seconds / longest, duration(seconds)) if finite(seconds) else "–"
        held = bar(memory / largest, f"{memory / 1e9:.2f} GB") if finite(memory) else "–"
        rows += f'<tr><th scope="row">{read}{mark}</th><td data-label="Time">{took}</td><td data-label="Peak memory">{held}</td></tr>'
    head = '<tr><th scope="col">Notebook</th><th scope="col">Time</th><th scope="col">Peak memory</th></tr>'
    return (
        f'<section><h2>The notebooks</h2><table class="notebooks"><thead>{head}</thead><tbody>{rows}</tbody></table>'
        f'<p class="note">Memory: {escape(metrics.get("memory_method", ""))}.</p></section>'
    )


def _setting(metrics: dict[str, Any], tuned: dict[str, Any]) -> str:
    facts: dict[str, Any] = {"Command": shlex.join(metrics.get("command") or [])}
    if tuned:
        facts |= {"Profile": tuned.get("profile"), "Model": tuned.get("model"), "Loaded from": tuned.get("source")}
        facts["Trained on"] = f"{number(tuned.get('tokens_seen'))} tokens in {duration(tuned.get('seconds'))}"
        choices = tuned.get("choices") or {}
        facts["Kept in"] = metrics.get("finetune_folder")
        facts["Number format"] = ": ".join(str(choices[key]) for key in ("dtype", "dtype_reason") if choices.get(key))
        facts["Data"] = join_words(tuned.get("data") or {})
        facts["Fine-tuning parameters"] = join_words(tuned.get("parameters") or {})
    given = [f"{name}: {join_words(entry['parameters'])}" for name, entry in metrics["notebooks"].items() if entry.get("parameters")]
    facts["Parameters given"] = "; ".join(given) or "none; each notebook used its own values"
    machine = metrics.get("machine", {})
    memory = f"{machine.get('memory_bytes', 0) / 1e9:.0f} GB"
    parts = [machine.get("processor"), f"{machine.get('cores')} cores", memory, machine.get("system")]
    facts["Machine"] = ", ".join(part for part in parts if part)
    facts["Versions"] = join_words({"nbtools": metrics.get("nbtools"), "Python": machine.get("python"), **metrics.get("versions", {})})
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<section><h2>What was run, and where</h2><dl>{items}</dl></section>"
