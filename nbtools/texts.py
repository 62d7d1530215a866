"""Check texts given by the caller, where a single string is no collection; and write durations and sizes for people."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from nbtools.errors import InputError

SURROGATES = re.compile("[\ud800-\udfff]")
SHOWN = 40  # characters of a text that an error quotes


def repair(text: str) -> str:
    """Return `text` as Unicode that can be encoded: surrogate pairs are joined, and a lone surrogate becomes U+FFFD."""
    if not SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def say(message: str) -> None:
    """Print a note on standard error."""
    print(f"Note: {message}", file=sys.stderr)


def check_text(text: Any, name: str = "text") -> str:
    """Return `text`, repaired. Raises InputError for anything but a string."""
    if not isinstance(text, str):
        raise InputError(f"{name} is {describe(text)}, not text.", "Give a string.")
    repaired = repair(text)
    if repaired != text:
        say(f"{name} contains half of a character (a lone surrogate), replaced by U+FFFD.")
    return repaired


def check_texts(texts: Any, name: str = "texts") -> list[str]:
    """Return the texts of an iterable of strings, or of the column `text` of a data set or table, repaired.

    Raises InputError, with `name` for the collection, for a single string, for anything else that is not such a collection, and for an
    item that is not a string.
    """
    found = list(_items(texts, name))
    wrong = [index for index, text in enumerate(found) if not isinstance(text, str)]
    if wrong:
        more = f" ({len(wrong):,} of {len(found):,} items are not strings)" if len(wrong) > 1 else ""
        problem = f"{name}[{wrong[0]}] is {describe(found[wrong[0]])}, not a string{more}."
        raise InputError(problem, "Leave such items out, or convert them yourself.")
    repaired = [repair(str(text)) for text in found]
    changed = [index for index, text in enumerate(found) if text != repaired[index]]
    if changed:
        say(f"{name}: {len(changed):,} with half of a character (a lone surrogate), replaced by U+FFFD; the first is {name}[{changed[0]}].")
    return repaired


def _items(texts: Any, name: str) -> Iterable[Any]:
    if isinstance(texts, str):
        remedy = f"Put it into a list: [{texts[:SHOWN]!r}{'…' * (len(texts) > SHOWN)}]"
        raise InputError(f"{name} is a single string, not a list of texts.", remedy)
    columns = getattr(texts, "column_names", None)
    if columns is None and hasattr(texts, "columns"):  # a pandas table
        columns = [str(column) for column in texts.columns]
    if isinstance(columns, Mapping):
        remedy = f"Give one of them, such as dataset[{next(iter(columns))!r}]."
        raise InputError(f"{name} is a data set with parts: {', '.join(columns)}.", remedy)
    if columns is not None:
        if "text" not in columns:
            raise InputError(f"{name} has no column 'text', but {', '.join(columns)}.", "Give one of its columns, as a list of strings.")
        return texts["text"]  # type: ignore[no-any-return]
    if isinstance(texts, (bytes, bytearray, Mapping)) or not isinstance(texts, Iterable):
        hint = " Give one part, such as reviews.train." if hasattr(texts, "train") else ""
        raise InputError(f"{name} is {describe(texts)}, not a list of strings.", f'Give a list such as ["a text", "another text"].{hint}')
    return texts


def escape_markdown(text: str) -> str:
    """Return `text` on one line, with the characters escaped that Markdown would read as markup."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|" else letter for letter in text)
    return " ".join(escaped.split())


def describe(value: Any) -> str:
    """Describe a value for an error: `None`, `nan (float)`, `3 (int)`, `a dict`."""
    if value is None:
        return "None"
    return f"{str(value)[:SHOWN]} ({type(value).__name__})" if isinstance(value, (int, float)) else describe_kind(value)


def describe_kind(value: Any) -> str:
    """Return the type of a value with an article: `an int`, `a dict`."""
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def duration(seconds: Any) -> str:
    """Return seconds for reading: "42 s", "12.1 minutes", "2.5 hours"; a dash for anything but a finite number."""
    if not _is_finite(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def gigabytes(count: Any) -> str:
    """Return bytes as GB (10**9 bytes), with two decimals below 1 GB; a dash for anything but a finite number."""
    if not _is_finite(count):
        return "–"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e9:.2f} GB"


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
