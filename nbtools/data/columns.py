"""Find the text in a row: a column chosen by name or content, a path into nested objects, or the turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nbtools.data.notes import Notes
from nbtools.errors import InputError

# Names of columns that usually hold the text, the most usual first.
COMMON_NAMES = (
    *("text", "review", "content", "body", "document", "sentence", "comment", "message", "story", "article"),
    *("messages", "conversations", "conversation"),
)
MAX_DEPTH = 4  # levels of nested objects that are searched for a text
ROLES, CONTENTS = ("role", "from", "speaker"), ("content", "value", "text")  # keys of a turn in OpenAI's and ShareGPT's chat formats


def choose_column(sample: Mapping[str, Any], column: str | None, where: str) -> str:
    """Return the column that holds the text: the requested one, else one with a common name, else the only one with text.

    sample  a row of the table; columns of nested objects are paths such as "data.text"
    column  the requested column, or None
    where   the table's name, for errors

    Raises InputError if no column matches or the choice is ambiguous.
    """
    columns = flatten(sample)
    shown = ", ".join([*columns][:20])
    if column is not None:
        if column in sample or get_path(sample, column) is not None or column in columns:
            return column
        raise InputError(f"{where} has no column {column!r}.", f"It has: {shown}.")
    by_name = {name.rpartition(".")[2].strip().lower(): name for name in reversed(columns)}
    by_name |= {name.strip().lower(): name for name in reversed(columns)}  # preferred to a name inside an object
    if usual := [by_name[name] for name in COMMON_NAMES if name in by_name]:
        return usual[0]
    texts = [name for name, value in columns.items() if (isinstance(value, str) and len(value.split()) > 2) or parse_turns(value)]
    if len(texts) == 1:
        return texts[0]
    if len(columns) == 1:
        return next(iter(columns))
    raise InputError(f"{where} has several columns, and it is not clear which holds the text.", f"Give column=…, one of: {shown}.")


def flatten(row: Mapping[str, Any], depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the values of a row by path; the path of a value in a nested object is "outer.inner"."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and value and depth > 1:
            found |= {f"{name}.{inner}": leaf for inner, leaf in flatten(value, depth - 1).items()}
        else:
            found[str(name)] = value
    return found


def get_path(row: Any, path: str) -> Any:
    """Return the value at `path`, or None: the column of that name, else keys and list indices separated by dots."""
    if isinstance(row, list):
        row = {str(index): item for index, item in enumerate(row)}
    if not isinstance(row, Mapping):
        return None
    if path in row:
        return row[path]
    names = [name for name in row if path.startswith(f"{name}.")]  # several, if names contain dots themselves
    found = (get_path(row[name], path.removeprefix(f"{name}.")) for name in names)
    return next((value for value in found if value is not None), None)


def parse_turns(value: Any) -> list[tuple[str, str]]:
    """Return (role, text) for each turn of a conversation; an empty list for any other value."""
    if not isinstance(value, (list, tuple)) or not value:
        return []
    found = []
    for turn in value:
        if not isinstance(turn, Mapping):
            return []
        role = next((turn[name] for name in ROLES if isinstance(turn.get(name), str)), None)
        words = next((turn[name] for name in CONTENTS if turn.get(name) is not None), "")
        if isinstance(words, list):  # content parts, some of which may be images
            words = "\n".join(part["text"] for part in words if isinstance(part, Mapping) and isinstance(part.get("text"), str))
        if role is None or not isinstance(words, str):
            return []
        found.append((role, words))
    return found


class TextField:
    """Extracts the text from items of a list, a data set or a JSON file.

    An item is either the text itself or an object, one field of which is the text; the field is chosen at the first object.
    """

    def __init__(self, column: str | None, where: str, notes: Notes) -> None:
        self.column, self.where, self.notes, self.chosen = column, where, notes, ""

    def extract(self, value: Any, position: str) -> Any:
        """Return the text in `value`; `position` says where it was read, for the notes."""
        if isinstance(value, Mapping):
            if not self.chosen:
                self.chosen = choose_column(value, self.column, self.where)
            value = get_path(value, self.chosen)
        if conversation := parse_turns(value):
            self.notes.add("conversations, read as paragraphs of the form 'role: words'", position)
            return "\n\n".join(f"{role}: {words}" for role, words in conversation)
        return value


def extract_items(items: Iterable[Any], column: str | None, where: str, notes: Notes, unit: str = "item") -> Iterator[tuple[str, Any]]:
    """Yield (position, text) for the items of a list, a data set, a JSON array or a Parquet file; positions are "item 1" and so on."""
    field = TextField(column, where, notes)
    for number, value in enumerate(items, 1):
        yield f"{unit} {number}", field.extract(value, f"{unit} {number}")
