"""The views' static forms, from the Jinja2 templates beside them. Every value is escaped unless the template says `safe`."""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.plots.table import as_text

if TYPE_CHECKING:
    from jinja2 import Environment


def render_static(name: str, **values: Any) -> str:
    """The template `name`.html, filled with `values`."""
    return _environment().get_template(f"{name}.html").render(values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["as_text"] = as_text  # text as HTML that keeps spaces and line breaks
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    return environment
