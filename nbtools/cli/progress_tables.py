"""Progress as tables in the terminal, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nbtools.errors import printable
from nbtools.exercises.framework import EXERCISES
from nbtools.exercises.progress import Progress, by_notebook, hardest
from nbtools.storage import Kind, replace_text
from nbtools.system import spreadsheet_cell

MAX_SHOWN = 10  # of the hardest exercises
COLUMNS = ["name", "exercise", "tries", "hints", "solved"]


def _is_table(file: Path) -> bool:
    with file.open(encoding="utf-8-sig", errors="replace") as content:
        return content.readline(200).strip() == ",".join(COLUMNS)


TABLE = Kind("a table of progress", _is_table, is_file=True)


def show_own(progress: Progress, path: Path, console: Console) -> None:
    """Print one row per notebook, the next exercise, and the path of the progress file."""
    table = Table("Notebook", "Solved", "", "Tries", box=None, pad_edge=False)
    for number, solved, total, tries in by_notebook(progress, EXERCISES):
        table.add_row(number, f"{solved} of {total}", "●" * solved + "○" * (total - solved), str(tries or ""))
    console.print(table)
    done = progress.solved() & set(EXERCISES)
    left = [exercise_id for exercise_id in EXERCISES if exercise_id not in done]
    suggestion = f"Next: {left[0]}, {EXERCISES[left[0]].title}" if left else "All of them. Try the stretch goals next."
    console.print(f"{len(done)} of {len(EXERCISES)} exercises solved. {suggestion}", markup=False)
    console.print(f"Stored in {path}", markup=False, soft_wrap=True)


def show_everybody(people: Mapping[str, Progress], console: Console) -> None:
    """Print one row per person, and the hardest exercises."""
    numbers = sorted({exercise_id[:2] for exercise_id in EXERCISES})
    table = Table("Name", *numbers, "Solved", box=None, pad_edge=False)
    for name, progress in people.items():
        rows = {number: (solved, total) for number, solved, total, _ in by_notebook(progress, EXERCISES)}
        cells = [f"{rows[number][0]}/{rows[number][1]}" for number in numbers]
        table.add_row(escape(printable(name)), *cells, str(len(progress.solved() & set(EXERCISES))))
    console.print(table)
    hard = Table("Exercise", "Solved by", "Mean tries", box=None, pad_edge=False)
    for exercise_id, solved, tried, tries in hardest(people)[:MAX_SHOWN]:
        hard.add_row(escape(printable(exercise_id)), f"{solved} of {tried} who tried", f"{tries:.1f}")
    console.print("\nHardest first:")
    console.print(hard)


def write_csv(people: Mapping[str, Progress], path: Path) -> Path:
    """Write one row per person and exercise: name, exercise, tries, hints, and the day it was solved."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for name, progress in people.items():
        for exercise_id, entry in sorted(progress.exercises.items()):
            row = [name, exercise_id, entry.get("tries", 0), entry.get("hints", 0), entry.get("solved", "")]
            writer.writerow([spreadsheet_cell(str(value)) for value in row])
    return replace_text(path, buffer.getvalue())
