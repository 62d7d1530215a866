"""Which part of a row is the text: a column by name or by content, a path into nested objects, the turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbtools.data.notes import Notes
from nbtools.errors import InputError

LIKELY = (
    "text", "review", "content", "body", "document", "sentence", "comment", "message", "story", "article", "messages", "conversations",
    "conversation",
)  # fmt: skip
DEPTH = 4  # of nested objects in which a text is looked for
ROLES, CONTENTS = ("role", "from", "speaker"), ("content", "value", "text")  # of a turn, in the chat formats of OpenAI and ShareGPT


def choose_column(sample: Mapping[str, Any], column: str | None, where: str) -> str:
    """The column of a row like `sample` that holds the text: the one that was named, the likeliest by name, or the only one with text.

    Columns of nested objects are paths such as "data.text". Raises InputError if no column matches or the choice is ambiguous.
    """
    columns = leaves(sample)
    if column is not None:
        if column in sample or find(sample, column) is not None or column in columns:
            return column
        raise InputError(f"{where} has no column {column!r}.", f"It has: {', '.join([*columns][:20])}.")
    by_name: dict[str, str] = {}
    for name in columns:
        by_name.setdefault(name.strip().lower(), name)
    for name in columns:
        by_name.setdefault(name.rpartition(".")[2].strip().lower(), name)
    for likely in LIKELY:
        if likely in by_name:
            return by_name[likely]
    texts = [name for name, value in columns.items() if (isinstance(value, str) and len(value.split()) > 2) or turns(value)]
    if len(texts) == 1:
        return texts[0]
    if len(columns) == 1:
        return next(iter(columns))
    shown = ", ".join([*columns][:20])
    raise InputError(f"{where} has several columns, and which holds the text cannot be told.", f"Name it: column=… (there are: {shown}).")


def leaves(row: Mapping[str, Any], depth: int = DEPTH) -> dict[str, Any]:
    """The values of a row by their paths: those of nested objects as "outer.inner"."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and value and depth > 1:
            found.update({f"{name}.{inner}": leaf for inner, leaf in leaves(value, depth - 1).items()})
        else:
            found[str(name)] = value
    return found


def find(row: Any, path: str) -> Any:
    """What stands at `path` in a row: the column of that name, else names (in lists, numbers from 0) between dots; else None."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    name, dot, rest = path.partition(".")
    while dot:  # a name may hold dots itself
        inner = _step(row, name)
        if inner is not None:
            return find(inner, rest)
        more, dot, rest = rest.partition(".")
        name = f"{name}.{more}"
    return _step(row, path)


def _step(row: Any, name: str) -> Any:
    if isinstance(row, Mapping):
        return row.get(name)
    if isinstance(row, list) and name.isdecimal() and len(name) < 10 and int(name) < len(row):
        return row[int(name)]
    return None


def turns(value: Any) -> list[tuple[str, str]]:
    """(role, words) for each turn of a conversation, empty for anything else."""
    if not isinstance(value, (list, tuple)) or not value:
        return []
    found = []
    for turn in value:
        if not isinstance(turn, Mapping):
            return []
        role = next((turn[name] for name in ROLES if isinstance(turn.get(name), str)), None)
        words = next((turn[name] for name in CONTENTS if turn.get(name) is not None), "")
        if isinstance(words, list):  # parts, of which some may be pictures
            words = "\n".join(part["text"] for part in words if isinstance(part, Mapping) and isinstance(part.get("text"), str))
        if role is None or not isinstance(words, str):
            return []
        found.append((role, words))
    return found


class Field:
    """The text in a value of a list, a data set or a JSON file: the value itself, or one field of an object, chosen at the first object."""

    def __init__(self, column: str | None, where: str, notes: Notes) -> None:
        self.column, self.where, self.notes, self.chosen = column, where, notes, ""

    def of(self, value: Any, place: str) -> Any:
        if isinstance(value, Mapping):
            if not self.chosen:
                self.chosen = choose_column(value, self.column, self.where)
            value = find(value, self.chosen)
        if spoken := turns(value):
            self.notes.add("conversations, read as paragraphs of the form 'role: words'", place)
            return "\n\n".join(f"{role}: {words}" for role, words in spoken)
        return value
