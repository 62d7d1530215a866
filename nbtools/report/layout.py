"""The templates of the pages, how values are written in them, and how a page is stored."""

from __future__ import annotations

import functools
import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from markupsafe import Markup

from nbtools.storage import Kind, destination, write_text
from nbtools.templates import Templates
from nbtools.texts import duration, gigabytes

LARGEST = 1e300  # beyond it the difference of two numbers may not be a finite float
# Each page carries this policy as a second defence: even if something slipped through, no script runs and nothing is fetched.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def finite(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number that can be drawn and compared."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < LARGEST


def number(value: Any, digits: int = 1) -> str:
    """A number for reading, with thousands separators; 6 digits mean significant digits. A dash for a missing value."""
    if not finite(value):
        return "–" if value is None or isinstance(value, float) else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:,.{digits}f}" if digits < 6 else f"{value:,.6g}"


def join_words(values: Mapping[str, Any]) -> str:
    """A mapping as a flat list "name value, name value", with nested mappings in parentheses."""
    words = []
    for name, value in values.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            words.append(f"{label} ({join_words(value)})")
        else:
            words.append(f"{label} {number(value, 6) if finite(value) else value}")
    return ", ".join(words)


FOLDER = Path(__file__).parent / "templates"
FILTERS: dict[str, Any] = {
    "number": number,
    "duration": duration,
    "gigabytes": gigabytes,
    "words": join_words,
    "shell": shlex.join,
    "json": functools.partial(json.dumps, ensure_ascii=False, default=str),
}
PAGES = Templates(FOLDER, **FILTERS)


PAGE = Kind("a page of a report", lambda file: POLICY.encode() in file.read_bytes()[:1_000], is_file=True)


def render_page(template: str, /, **values: Any) -> str:
    """A complete HTML document from a template that extends page.html."""
    return PAGES.render(template, policy=Markup(POLICY), **values)


def write_page_file(path: Path, page: str) -> Path:
    """Write a page. Raises InputError where something else has that name."""
    return write_text(destination(path, PAGE), page)
