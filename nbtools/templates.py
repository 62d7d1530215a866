"""HTML from Jinja2 templates: every value is escaped, and a name that a template does not know is an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


class Templates:
    """The templates in one folder, or in several, by file name; of two with the same name the one in the earlier folder.

    folders  where they are
    filters  functions that the templates call as `value|name`
    """

    def __init__(self, *folders: Path, **filters: Callable[..., object]) -> None:
        self.folders, self.filters = folders, filters

    def render(self, name: str, /, **values: Any) -> Markup:
        """The template filled with `values`, which are escaped unless they are Markup.

        Raises jinja2.UndefinedError where a value is missing, ImportError where Jinja2 is not installed.
        """
        from markupsafe import Markup

        return Markup(self._environment.get_template(name).render(values))

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # when it is needed: `import nbtools` stays quick

        environment = Environment(
            loader=FileSystemLoader(self.folders), autoescape=True, undefined=StrictUndefined, auto_reload=False, trim_blocks=True
        )
        environment.filters.update(self.filters)
        return environment
