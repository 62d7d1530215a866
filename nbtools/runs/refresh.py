"""Re-execute notebooks and store their outputs in place, without anything that only says when, where or how fast it was.

Only outputs and execution counts are taken from the executed copy, cell by cell; sources, ids and tags stay as they are.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nbtools.errors import RunError
from nbtools.notebooks.catalog import Notebook
from nbtools.notebooks.content import join_lines, read_content
from nbtools.notebooks.costs import COSTS_FILE, read_costs, record_costs, recorded
from nbtools.runs.execution import execute
from nbtools.runs.job import Execution, Job
from nbtools.storage import write_text
from nbtools.storage.destinations import check_writable
from nbtools.system import say as print_line
from nbtools.texts import duration, gigabytes

BOX = re.compile(r"^[^\n(]* of memory \(recorded on a machine with [^\n)]*\)\.$", re.MULTILINE)
VIEWS = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")


def refresh_notebooks(notebooks: Sequence[Notebook], say: Callable[[str], None] = print_line) -> list[Path]:
    """Execute each notebook with the Hub off and store its outputs; return the files that changed.

    Prints what changed, cell by cell, and records time and memory of each notebook for `box`. The notebooks share one
    temporary folder for runs, so that one finds what an earlier one saved. Raises RunError at the first that fails, which
    leaves it and the later ones as they were.
    """
    for folder in {COSTS_FILE.parent, *(notebook.path.parent for notebook in notebooks)}:
        check_writable(folder, "Refresh notebooks of a clone that you may write to.")
    changed, measured = [], {}
    with tempfile.TemporaryDirectory(prefix="nbtools-refresh-") as temporary:
        folder = Path(temporary)
        for notebook in notebooks:
            say(f"{notebook.name}: executing {len(notebook.code)} code cells")
            job = Job(str(notebook.path), environment={"HF_HUB_OFFLINE": "1"})
            execution = execute(job, folder / "executed" / f"{notebook.name}.ipynb", runs=folder / "runs")
            if execution.failure or execution.output is None:
                raise RunError(*_explain(execution))
            names = ("seconds", "peak_memory_bytes", "cell_seconds")
            measured[notebook.name] = {name: getattr(execution, name) for name in names}
            differences = store_outputs(notebook.path, execution.output, short_paths(folder / "runs", notebook.path.parent.parent))
            news = f"{len(differences)} cells changed" if differences else "unchanged"
            say(f"{notebook.name}: {duration(execution.seconds)}, {gigabytes(execution.peak_memory_bytes)}; {news}")
            for difference in differences:
                say(f"  {difference}")
            if differences:
                changed.append(notebook.path)
    record_costs(measured)
    costs = read_costs()
    for notebook in notebooks:
        if store_box(notebook.path, recorded(costs[notebook.name])) and notebook.path not in changed:
            changed.append(notebook.path)
    return changed


def store_box(target: Path, line: str) -> bool:
    """Replace the line that the notebook's box printed from the earlier record by `line`; whether that changed the file."""
    content, changed = read_content(target), False
    for output in (output for cell in content["cells"] for output in cell.get("outputs", []) if output["output_type"] == "stream"):
        before = "".join(output["text"])
        if (fresh := BOX.sub(lambda _: line, before)) != before:
            output["text"], changed = fresh.splitlines(keepends=True), True
    if changed:
        write_text(target, json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return changed


def store_outputs(target: Path, executed: Path, places: list[tuple[str, str]]) -> list[str]:
    """Put the outputs in `executed` into the notebook `target`, cleaned; return one line for each cell that changed.

    places  pairs of an absolute path and what is written instead, the longest first

    The file is rewritten only when something changed. Raises RunError where the two hold different cells.
    """
    content = read_content(target)
    fresh = read_content(executed)
    if [cell.get("id") for cell in content["cells"]] != [cell.get("id") for cell in fresh["cells"]]:
        raise RunError(f"The cells of {target.name} changed while it was executed.", "Refresh it again.")
    before = json.dumps(content)
    content["metadata"] = {key: value for key, value in content["metadata"].items() if key not in {"papermill", "widgets"}}
    differences = []
    for number, (cell, new) in enumerate(zip(content["cells"], fresh["cells"], strict=True), start=1):
        for key in ("papermill", "execution", "ExecuteTime"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] != "code":
            continue
        outputs = clean_outputs(new["outputs"], places)
        if what := describe_change(cell.get("outputs", []), outputs):
            differences.append(f"cell {number} ({cell.get('id', 'no id')}): {what}")
        cell["outputs"], cell["execution_count"] = outputs, new["execution_count"]
    if json.dumps(content) != before:
        write_text(target, json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return differences


def clean_outputs(outputs: list[dict[str, Any]], places: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The outputs that a later reader should see: without standard error, live views, absolute paths and addresses of objects.

    Pieces of one stream are joined, because where they were cut is a matter of timing.
    """
    kept: list[dict[str, Any]] = []
    for output in outputs:
        output = json.loads(json.dumps(output))
        kind = output["output_type"]
        if kind == "stream":
            if output["name"] == "stderr":
                continue
            text = clean_text("".join(output["text"]), places)
            if kept and kept[-1]["output_type"] == "stream":
                text = "".join(kept.pop()["text"]) + text
            output["text"] = text.splitlines(keepends=True)
        elif kind in ("display_data", "execute_result"):
            for view in VIEWS:
                output["data"].pop(view, None)
                output.get("metadata", {}).pop(view, None)
            for mime, value in output["data"].items():
                if mime.startswith("text/") or mime == "image/svg+xml":
                    output["data"][mime] = clean_text("".join(value), places).splitlines(keepends=True)
            if not output["data"]:
                continue
        elif kind == "error":
            output["traceback"] = [clean_text(line, places) for line in output["traceback"]]
            output["evalue"] = clean_text(output["evalue"], places)
        kept.append(output)
    return kept


def clean_text(text: str, places: list[tuple[str, str]]) -> str:
    """The text with absolute paths shortened and the addresses of objects left out."""
    for place, short in places:
        text = re.sub(re.escape(place) + r"(?![\w-]|\.\w)", short, text)
    return re.sub(r"\bat 0x[0-9a-fA-F]{6,}", "at 0x…", text)


def short_paths(runs: Path, root: Path) -> list[tuple[str, str]]:
    """Absolute paths and their short forms: the folder for runs, the repository, temporary files, home. The longest first."""
    named = {runs: "runs", root: ".", Path(tempfile.gettempdir()): "tmp", Path.home(): "~"}
    both = {str(form): short for place, short in named.items() for form in (place, place.resolve()) if len(place.parts) > 1}
    return sorted(both.items(), key=lambda pair: -len(pair[0]))


def describe_change(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str:
    """What differs between two cells' outputs, in a few words; empty where nothing does."""
    if _plain(old) == _plain(new):
        return ""
    if not old:
        return "first outputs"
    if len(old) != len(new):
        return f"{len(old)} outputs before, {len(new)} now"
    words = []
    for before, after in zip(_plain(old), _plain(new), strict=True):
        if before == after:
            continue
        if before["output_type"] != after["output_type"]:
            words.append(f"{before['output_type']} became {after['output_type']}")
        elif "data" in after:
            mimes = sorted(set(before["data"]) | set(after["data"]))
            words += [mime for mime in mimes if before["data"].get(mime) != after["data"].get(mime)] or ["metadata"]
        else:
            words.append("text" if after["output_type"] == "stream" else "error")
    return ", ".join(dict.fromkeys(words)) + " differs"


def _plain(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with lists of lines joined and without execution counts, to compare."""
    plain = []
    for output in outputs:
        output = {key: value for key, value in output.items() if key != "execution_count"}
        if "data" in output:
            output["data"] = {mime: join_lines(value) for mime, value in output["data"].items()}
        if "text" in output:
            output["text"] = "".join(output["text"])
        plain.append(output)
    return plain


def _explain(execution: Execution) -> tuple[str, str]:
    failure = execution.failure
    if failure is None:
        return f"{execution.name} left no executed copy.", "Refresh it again."
    last = failure.lines[-1] if failure.lines else ""
    return f"{execution.name}, code cell {failure.cell} of {failure.total}: {failure.reason}. {last}", "Mend the cell, then refresh again."
