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
from nbtools.runtime import headless, runs_folder, write_text

SCHEMA = 1
FILE = "exercises.json"


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
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        if content["schema"] != SCHEMA:
            raise KeyError("schema")
        exercises = {str(one): dict(entry) for one, entry in content["exercises"].items()}
        if not all(isinstance(entry.get(count, 0), int) for entry in exercises.values() for count in ("tries", "hints")):
            raise TypeError("a count is no number")
        return Progress(str(content.get("name", "")), exercises)
    except FileNotFoundError:
        return Progress()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is no file of progress.", f"Give an {FILE} that the course wrote; a broken one can be deleted.") from None


def write_progress(path: Path, progress: Progress) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "name": progress.name, "exercises": dict(sorted(progress.exercises.items()))}
    return write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def note_try(exercise_id: str, passed: bool, hints: int) -> None:
    """Count an answer. Nothing is kept where notebooks run by themselves. Raises InputError or OSError where the file cannot be kept."""
    from filelock import FileLock

    if headless():
        return
    path = progress_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):  # two notebooks at once are two kernels
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
        tries[one[:2]] += entry.get("tries", 0)
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
            sum(entry.get("tries", 0) for entry in entries) / len(entries),
        )
        for one, entries in tried.items()
    ]
    return sorted(rows, key=lambda row: (row[1] / row[2], -row[3], row[0]))
