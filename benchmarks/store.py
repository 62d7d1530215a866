"""Stored results, one per benchmark and kind of processor: results/NAME/KIND.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.kinds import ProcessorKind, kind_of_record
from nbtools.storage import write_text

Record = dict[str, Any]  # a stored result

RESULTS = Path(__file__).parent / "results"


def path_of(name: str, kind: ProcessorKind, results: Path = RESULTS) -> Path:
    """The file of a benchmark's result on a kind of processor."""
    return results / name / f"{kind.slug}.json"


def read(path: Path) -> Record:
    return dict(json.loads(path.read_text(encoding="utf8")))


def write(path: Path, record: Record) -> None:
    write_text(path, json.dumps(record, indent=1) + "\n")


def stored(name: str, results: Path = RESULTS) -> dict[str, Record]:
    """The results of a benchmark by the slug of their kind, in alphabetical order."""
    return {path.stem: read(path) for path in sorted((results / name).glob("*.json"))}


def expected_minutes(name: str, kind: ProcessorKind, results: Path = RESULTS) -> tuple[float, ProcessorKind] | None:
    """How long a benchmark took when it was last measured, and on which kind of processor: on `kind`, else on any.

    None if it was never measured.
    """
    records = stored(name, results)
    record = records.get(kind.slug) or max(records.values(), key=lambda record: record["created"], default=None)
    return None if record is None else (float(record["minutes"]), kind_of_record(record))


def move_results(results: Path = RESULTS) -> list[Path]:
    """Move results of an earlier layout, results/NAME.json, to results/NAME/KIND.json; returns the new files.

    If both exist, the newer result is kept.
    """
    moved = []
    for path in sorted(results.glob("*.json")):
        record = read(path)
        kind = kind_of_record(record)
        target = path_of(path.stem, kind, results)
        if not target.is_file() or read(target)["created"] < record["created"]:
            write(target, {**record, "kind": {"slug": kind.slug, "label": kind.label}})
            moved.append(target)
        path.unlink()
    return moved
