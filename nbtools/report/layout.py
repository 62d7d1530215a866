"""The frame that every page of a report shares, and how it writes tables, bars and numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from nbtools.report.markup import POLICY, escape
from nbtools.runtime import Kind, destination, write_text

DRAWN = 1e300  # what is larger has no difference, or no place in a picture, that a float holds
STYLE_FILE = Path(__file__).parent.parent / "assets" / "report.css"


def _is_page(file: Path) -> bool:
    with file.open("rb") as content:
        return POLICY.encode() in content.read(1_000)


PAGE = Kind("a page of a report", _is_page, is_file=True)


def write_html(path: Path, page: str) -> Path:
    """Write a page. Raises InputError where the name is taken by something else."""
    return write_text(destination(path, PAGE), page)


def wrap_page(title: str, body: str) -> str:
    """A whole HTML document around `body`, which must be safe already; the style is inside."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


@functools.cache
def _style() -> str:
    return STYLE_FILE.read_text(encoding="utf8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A table whose first column names the rows; it scrolls by itself where a screen is narrow."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = ""
    for row in rows:
        values = "".join(f"<td>{escape(value)}</td>" for value in row[1:])
        body += f'<tr><th scope="row">{escape(row[0])}</th>{values}</tr>'
    style = ' class="numbers"' if numbers else ""
    return f'<div class="scroll" tabindex="0"><table{style}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(share: float, label: str) -> str:
    """A label over a bar that is `share` (0 to 1) of its column's width."""
    width = max(min(share, 1.0), 0.01) * 100
    return f'{escape(label)}<span class="bar" aria-hidden="true"><span style="width:{width:.0f}%"></span></span>'


def join_words(values: Mapping[str, Any]) -> str:
    """A mapping as a flat list "name value, name value"; a mapping within it stands in brackets."""
    words = []
    for name, value in values.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            words.append(f"{label} ({join_words(value)})")
        else:
            words.append(f"{label} {number(value, 6) if finite(value) else value}")
    return ", ".join(words)


def number(value: Any, digits: int = 1) -> str:
    """A number for reading: thousands apart, no needless digits (6 digits mean: as many as it has); a dash for what is missing."""
    if not finite(value):
        return "–" if value is None or isinstance(value, float) else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:,.{digits}f}" if digits < 6 else f"{value:,.6g}"


def duration(seconds: Any) -> str:
    """Seconds for reading: "42 s", "12 min 5 s", "1 h 2 min"."""
    if not finite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def finite(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number that can be drawn and compared."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < DRAWN
