"""A learner's progress as a file, and the files of a class as one table."""

from __future__ import annotations

import itertools
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
MAX_BYTES = 1_000_000  # of a file; one with every exercise has about 10 kB
MAX_NAME_LENGTH = 80  # characters; the name is a cell of a table
COUNT = Maybe(Whole(0, 1_000_000), 0)
SHAPE = {
    "schema": Is(SCHEMA),
    "name": Maybe(str, ""),
    "exercises": {str: {"tries": COUNT, "hints": COUNT, "solved": Maybe((str, bool))}},
}


@dataclass
class Progress:
    """The exercises that one person has tried.

    name       the learner's name, or ""
    exercises  by id: `tries`, `hints` and, once it is solved, the day (`solved`)
    """

    name: str = ""
    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)

    def solved(self) -> set[str]:
        """The ids of the solved exercises."""
        return {exercise_id for exercise_id, entry in self.exercises.items() if entry.get("solved")}


def progress_file() -> Path:
    """The path of `exercises.json` in the folder for runs; only `check` and `nbtools progress` write to it."""
    return runs_folder() / FILE


def read_progress(path: Path) -> Progress:
    """Read a progress file; the result is empty if the file does not exist. Raises InputError if it is not a progress file."""
    remedy = f"Give an {FILE} that the course wrote; a broken one can be deleted."
    try:
        content = read_json(path, SHAPE, remedy, most_bytes=MAX_BYTES, absent={"name": "", "exercises": {}})
    except InputError as error:
        raise InputError(f"{path} is not a progress file: {error.problem.removeprefix(f'{path} cannot be read: ')}", remedy) from None
    return Progress(" ".join(content["name"].split())[:MAX_NAME_LENGTH], content["exercises"])


def write_progress(path: Path, progress: Progress) -> Path:
    """Write a progress file, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "name": progress.name, "exercises": dict(sorted(progress.exercises.items()))}
    return write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def note_try(exercise_id: str, passed: bool, hints: int) -> None:
    """Count an attempt in the progress file, except in headless runs. Raises InputError or OSError if the file cannot be written."""
    if headless():
        return
    path = progress_file()
    with wait_for_lock(path.with_name(f".{path.name}.lock")):  # two open notebooks are two kernels
        progress = read_progress(path)
        entry = progress.exercises.setdefault(exercise_id, {"tries": 0, "hints": 0})
        if not entry.get("solved"):
            entry["tries"] += 1
            entry["hints"] = max(entry["hints"], hints)
            if passed:
                entry["solved"] = datetime.now(UTC).date().isoformat()
        write_progress(path, progress)


def by_notebook(progress: Progress, known: Iterable[str]) -> list[tuple[str, int, int, int]]:
    """For each notebook: its number, solved exercises, all exercises, tries."""
    totals = Counter(exercise_id[:2] for exercise_id in known)
    solved = Counter(exercise_id[:2] for exercise_id in progress.solved())
    tries: Counter[str] = Counter()
    for exercise_id, entry in progress.exercises.items():
        tries[exercise_id[:2]] += entry["tries"]
    return [(number, solved[number], totals[number], tries[number]) for number in sorted(totals)]


def find_files(paths: Sequence[Path]) -> list[Path]:
    """List the progress files in `paths`, which are files and folders. Raises InputError if there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*.json") if not file.name.startswith("."))
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"There is no file or folder {path}.", f"Name the files that people sent, {FILE} each.")
    if not found:
        raise InputError("There is no progress file there.", f"Name the files that people sent, {FILE} each, or their folder.")
    return found


def roll_up(files: Sequence[Path]) -> tuple[dict[str, Progress], list[str]]:
    """Read the progress files of a class.

    Returns the progress by name, where a repeated name gets a number, and one message for each file that could not be read.
    """
    people: dict[str, Progress] = {}
    problems = []
    for file in files:
        try:
            progress = read_progress(file)
        except InputError as error:
            problems.append(error.problem)
            continue
        name = progress.name or (file.parent.name if file.name == FILE else file.stem)
        names = itertools.chain([name], (f"{name} ({twin})" for twin in itertools.count(2)))
        people[next(free for free in names if free not in people)] = progress
    return people, problems


def hardest(people: Mapping[str, Progress]) -> list[tuple[str, int, int, float]]:
    """For each exercise that somebody tried, hardest first: its id, how many solved it, how many tried it, mean tries."""
    tried, solved, tries = Counter[str](), Counter[str](), Counter[str]()
    for progress in people.values():
        tried.update(progress.exercises.keys())
        solved.update(progress.solved())
        tries.update({exercise_id: entry["tries"] for exercise_id, entry in progress.exercises.items()})
    rows = [
        (exercise_id, solved[exercise_id], people_tried, tries[exercise_id] / people_tried) for exercise_id, people_tried in tried.items()
    ]
    return sorted(rows, key=lambda row: (row[1] / row[2], -row[3], row[0]))
