"""Re-execute notebooks and store their outputs in place, without anything that only says when, where or how fast it was.

Only outputs and execution counts are taken from the executed copy, cell by cell; sources, ids and tags stay as they are.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nbtools.errors import RunError
from nbtools.notebooks.catalog import Notebook
from nbtools.notebooks.content import as_node, read_content
from nbtools.notebooks.costs import COSTS_FILE, read_costs, record_costs, recorded
from nbtools.runs.execution import execute
from nbtools.runs.job import Job
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
    changed = []
    with tempfile.TemporaryDirectory(prefix="nbtools-refresh-") as temporary:
        folder = Path(temporary)
        for notebook in notebooks:
            name, root = notebook.name, notebook.path.parent.parent
            say(f"{name}: executing {len(notebook.code)} code cells")
            job = Job(str(notebook.path), environment={"HF_HUB_OFFLINE": "1"})
            executed = folder / "executed" / f"{name}.ipynb"
            execution = execute(job, executed, runs=folder / "runs")
            if (failure := execution.failure) is not None:
                last = failure.lines[-1] if failure.lines else ""
                where = f"{name}, code cell {failure.cell} of {failure.total}"
                raise RunError(f"{where}: {failure.reason}. {last}", "Mend the cell, then refresh again.")
            record_costs({name: {key: getattr(execution, key) for key in ("seconds", "peak_memory_bytes", "cell_seconds")}})
            box = recorded(read_costs()[name])  # while it ran, the notebook could only print the record of the time before
            differences = store_outputs(notebook.path, executed, short_paths(folder / "runs", root), box)
            news = f"{len(differences)} cells changed" if differences else "unchanged"
            say(f"{name}: {duration(execution.seconds)}, {gigabytes(execution.peak_memory_bytes)}; {news}")
            for difference in differences:
                say(f"  {difference}")
            if differences:
                changed.append(notebook.path)
    return changed


def store_outputs(target: Path, executed: Path, places: list[tuple[str, str]], box: str) -> list[str]:
    """Put the outputs in `executed` into the notebook `target`, cleaned; return one line for each cell that changed.

    places  pairs of an absolute path and what is written instead, the longest first
    box     what is written instead of the line that the notebook's box printed

    The file is rewritten only when something changed. Raises RunError where the two hold different cells.
    """
    import nbformat
    from nbformat.v4.rwbase import rejoin_lines

    content, fresh = (rejoin_lines(as_node(read_content(path))) for path in (target, executed))
    if [cell.get("id") for cell in content.cells] != [cell.get("id") for cell in fresh.cells]:
        raise RunError(f"The cells of {target.name} changed while it was executed.", "Refresh it again.")
    before = copy.deepcopy(content)
    for key in ("papermill", "widgets"):
        content.metadata.pop(key, None)
    differences = []
    for number, (cell, new) in enumerate(zip(content.cells, fresh.cells, strict=True), start=1):
        for key in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        outputs = clean_outputs(new.outputs, places, box)
        if what := describe_change(cell.outputs, outputs):
            differences.append(f"cell {number} ({cell.get('id', 'no id')}): {what}")
        cell.outputs, cell.execution_count = outputs, new.execution_count
    if content != before:
        write_text(target, nbformat.writes(content).rstrip("\n") + "\n")
    return differences


def clean_outputs(outputs: list[dict[str, Any]], places: list[tuple[str, str]], box: str) -> list[dict[str, Any]]:
    """The outputs that a later reader should see: without standard error, live views, absolute paths and addresses of objects.

    Pieces of one stream are joined, because where they were cut is a matter of timing.
    """
    kept: list[dict[str, Any]] = []
    for output in copy.deepcopy(outputs):
        kind = output["output_type"]
        if kind == "stream":
            if output["name"] == "stderr":
                continue
            before = kept.pop()["text"] if kept and kept[-1]["output_type"] == "stream" else ""
            output["text"] = BOX.sub(lambda _: box, before + clean_text(output["text"], places))
        elif kind == "error":
            output["traceback"] = [clean_text(line, places) for line in output["traceback"]]
            output["evalue"] = clean_text(output["evalue"], places)
        else:
            for view in VIEWS:
                output["data"].pop(view, None)
                output.get("metadata", {}).pop(view, None)
            for mime, value in output["data"].items():
                if mime.startswith("text/") or mime == "image/svg+xml":
                    output["data"][mime] = clean_text(value, places)
            if not output["data"]:
                continue
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
    """What differs between two cells' outputs, in a few words; empty where nothing but execution counts does."""
    old, new = ([{**output, "execution_count": None} for output in outputs] for outputs in (old, new))
    if not old and new:
        return "first outputs"
    if len(old) != len(new):
        return f"{len(old)} outputs before, {len(new)} now"
    words: list[str] = []
    for before, after in zip(old, new, strict=True):
        if before != after and "data" in before and "data" in after:
            mimes = sorted({*before["data"], *after["data"]})
            words += [mime for mime in mimes if before["data"].get(mime) != after["data"].get(mime)] or ["metadata"]
        elif before != after:
            words.append({"stream": "text"}.get(after["output_type"], after["output_type"]))
    return f"{', '.join(dict.fromkeys(words))} differs" if words else ""
