"""How results become Markdown: figures, tables with a group of rows per kind of processor, goals with a column per kind."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import applies
from benchmarks.kinds import ProcessorKind, kind_of_record
from benchmarks.store import Record


@dataclass(frozen=True)
class Table:
    """A table; every column but the first holds figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Table | str  # a table, or a paragraph


def markdown(block: Block) -> str:
    """A block as Markdown; figures are aligned to the right."""
    if isinstance(block, str):
        return block
    lines = [block.head, ["---", *["---:"] * (len(block.head) - 1)], *block.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three significant digits, in full above a thousand."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ranged(values: dict[str, float], scale: float = 1.0) -> str:
    """The median, with minimum and maximum."""
    median, least, most = (number(values[name] / scale) for name in ("median", "min", "max"))
    return median if least == most else f"{median} ({least} to {most})"


def heading(record: Record) -> str:
    """Kind of processor and date of a result."""
    return f"{kind_of_record(record).label}, {record['created'][:10]}"


def by_kind(records: Sequence[Record], blocks: Sequence[Sequence[Block]]) -> list[Block]:
    """The blocks of each record as one list: tables with the same head become one, with a group of rows per kind of processor."""
    merged: list[Block] = []
    for parts in itertools.zip_longest(*blocks):
        tables: dict[tuple[str, ...], list[Sequence[str]]] = {}
        said: dict[str, list[str]] = {}
        for record, part in zip(records, parts, strict=True):
            if isinstance(part, Table):
                rows = tables.setdefault(tuple(part.head), [])
                rows.append([f"**{heading(record)}**", *[""] * (len(part.head) - 1)])
                rows.extend(part.rows)
            elif part:
                said.setdefault(part, []).append(kind_of_record(record).label)
        merged += [Table(head, rows) for head, rows in tables.items()]
        merged += [text if len(records) == len(kinds) else f"{'; '.join(kinds)}: {text}" for text, kinds in said.items()]
    return merged


def goals_table(records: Sequence[Record]) -> list[Block]:
    """The goals of a benchmark, with a column per kind of processor."""
    kinds = [kind_of_record(record) for record in records]
    labels = {kind.slug: kind.label for kind in kinds}
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for kind, record in zip(kinds, records, strict=True):
        for one in record["goals"]:
            only = f" ({labels.get(one['kind'], one['kind'])})" if "kind" in one else ""
            wanted = f"{one['sense']} {number(one['goal'])}{only}"
            found.setdefault((one["name"], one.get("format", ""), wanted), {})[kind.slug] = outcome(one, kind)
    rows = [[*key, *[cells.get(slug, "") for slug in labels]] for key, cells in found.items()]
    return [Table(["goal", "format", "wanted", *map(heading, records)], rows)] if rows else []


def outcome(one: Mapping[str, Any], kind: ProcessorKind) -> str:
    """A goal's measured value, and whether it is met."""
    value = "not measured" if one["value"] is None else number(one["value"])
    if not applies(one, kind):
        return f"{value}, no goal"
    return f"{value}, met" if one["met"] else f"{value}, **not met**"


def about(record: Record) -> str:
    """One line: machine, versions, date, duration, and whether other processes used the processor meanwhile."""
    machine, versions = record["machine"], record["versions"]
    units = ", ".join(machine["units"]) or "none named"
    rows = [row for rows in _lists(record["raw"]) for row in rows]
    busiest = max((row.get("others_percent", 0.0) for row in rows), default=0.0)
    quiet = "nothing else was seen to run" if busiest < 10 else f"**something else took up to {busiest:.0f} % of a core**"
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "trl", "llama-cpp-python") if name in versions)
    return (
        f"*{record['created'][:10]}, {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB "
        f"({units}); Python {versions['python']}, {libraries}; {record['rounds']} round{'s' if record['rounds'] > 1 else ''} in "
        f"{record['minutes']:.0f} minutes, {quiet}. `{record['command']}`*"
    )


def _lists(raw: Any) -> list[list[Record]]:
    """The lists of rows inside `raw`, at any depth."""
    if isinstance(raw, list):
        return [[row for row in raw if isinstance(row, dict)]]
    return [found for value in raw.values() for found in _lists(value)] if isinstance(raw, dict) else []
