"""What a learner has solved, in a file of their own; and many such files as one table for whoever teaches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.storage import runs_folder, wait_for_lock, write_text
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Is, Maybe, Whole
from nbtools.system import headless

SCHEMA = 1
FILE = "exercises.json"
MOST_BYTES = 1_000_000  # of a file; one with every exercise has a hundredth
MOST_NAME = 80  # characters of a name, which is a cell of a table
COUNT = Maybe(Whole(0, 1_000_000), 0)
SHAPE = {
    "schema": Is(SCHEMA),
    "name": Maybe(str, ""),
    "exercises": {str: {"tries": COUNT, "hints": COUNT, "solved": Maybe((str, bool))}},
}


@dataclass
class Progress:
    """name: whose it is, "" where nobody said; exercises: by id, tries, hints and, once it is solved, the day."""

    name: str = ""
    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)

    def solved(self) -> set[str]:
        return {one for one, entry in self.exercises.items() if entry.get("solved")}


def progress_file() -> Path:
    """`exercises.json` in the folder for runs: it is the learner's, and nothing but `check` and `nbtools progress` writes it."""
    return runs_folder() / FILE


def read_progress(path: Path) -> Progress:
    """What a file holds; nothing where there is none. Raises InputError for a file that is something else."""
    remedy = f"Give an {FILE} that the course wrote; a broken one can be deleted."
    try:
        content = read_json(path, SHAPE, remedy, most_bytes=MOST_BYTES, absent={"name": "", "exercises": {}})
    except InputError as error:
        raise InputError(f"{path} is no file of progress: {error.problem.removeprefix(f'{path} cannot be read: ')}", remedy) from None
    return Progress(" ".join(content["name"].split())[:MOST_NAME], content["exercises"])


def write_progress(path: Path, progress: Progress) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "name": progress.name, "exercises": dict(sorted(progress.exercises.items()))}
    return write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def note_try(exercise_id: str, passed: bool, hints: int) -> None:
    """Count an answer. Nothing is kept where notebooks run by themselves. Raises InputError or OSError where the file cannot be kept."""
    if headless():
        return
    path = progress_file()
    with wait_for_lock(path.with_name(f".{path.name}.lock")):  # two notebooks at once are two kernels
        progress = read_progress(path)
        entry = progress.exercises.setdefault(exercise_id, {"tries": 0, "hints": 0})
        if not entry.get("solved"):
            entry["tries"] += 1
            entry["hints"] = max(entry["hints"], hints)
            if passed:
                entry["solved"] = datetime.now(UTC).date().isoformat()
        write_progress(path, progress)


def by_notebook(progress: Progress, known: Iterable[str]) -> list[tuple[str, int, int, int]]:
    """For each notebook number: (number, solved, exercises there are, tries)."""
    totals = Counter(one[:2] for one in known)
    solved = Counter(one[:2] for one in progress.solved())
    tries: Counter[str] = Counter()
    for one, entry in progress.exercises.items():
        tries[one[:2]] += entry["tries"]
    return [(number, solved[number], totals[number], tries[number]) for number in sorted(totals)]


def find_files(places: Sequence[Path]) -> list[Path]:
    """The files of progress among `places` and in the folders among them. Raises InputError where there are none."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(file for file in place.rglob("*.json") if not file.name.startswith("."))
        elif place.is_file():
            found.append(place)
        else:
            raise InputError(f"There is no file or folder {place}.", f"Name the files that people sent, {FILE} each.")
    if not found:
        raise InputError("There is no file of progress there.", f"Name the files that people sent, {FILE} each, or their folder.")
    return found


def roll_up(files: Sequence[Path]) -> tuple[dict[str, Progress], list[str]]:
    """Everybody's progress by name, and a line for each file that could not be read. Two with one name are told apart."""
    people: dict[str, Progress] = {}
    complaints = []
    for file in files:
        try:
            progress = read_progress(file)
        except InputError as error:
            complaints.append(error.problem)
            continue
        name = progress.name or (file.parent.name if file.name == FILE else file.stem)
        twin = 1
        while (name if twin == 1 else f"{name} ({twin})") in people:
            twin += 1
        people[name if twin == 1 else f"{name} ({twin})"] = progress
    return people, complaints


def hardest(people: Mapping[str, Progress]) -> list[tuple[str, int, int, float]]:
    """For each exercise that anybody tried, hardest first: (id, solved by, tried by, mean tries)."""
    tried: dict[str, list[dict[str, Any]]] = {}
    for progress in people.values():
        for one, entry in progress.exercises.items():
            tried.setdefault(one, []).append(entry)
    rows = [
        (
            one,
            sum(bool(entry.get("solved")) for entry in entries),
            len(entries),
            sum(entry["tries"] for entry in entries) / len(entries),
        )
        for one, entries in tried.items()
    ]
    return sorted(rows, key=lambda row: (row[1] / row[2], -row[3], row[0]))
