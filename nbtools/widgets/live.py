"""What every live view has in common: one module for the browser, a still form, and one clear line when something goes wrong."""

from __future__ import annotations

import functools
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from nbtools.errors import CourseError
from nbtools.runtime import headless

HERE = Path(__file__).parent
SHARED = "shared"  # the file stem of what all views share, in JavaScript and in CSS


@functools.cache
def script(*names: str) -> str:
    """The ES module of a view: the shared parts and its own files, as one text, so that the browser asks for nothing."""
    return "\n".join((HERE / f"{stem}.js").read_text(encoding="utf8") for stem in (SHARED, *names))


@functools.cache
def style(name: str) -> str:
    own = HERE / f"{name}.css"
    return (HERE / f"{SHARED}.css").read_text(encoding="utf8") + (own.read_text(encoding="utf8") if own.is_file() else "")


class LiveView(anywidget.AnyWidget):  # type: ignore[misc]
    """A view that holds traits and draws; what it shows was computed elsewhere.

    The browser asks by messages {"type": NAME, "id": N, ...}, answered by the method `on_NAME`. `heard` is the last id that arrived
    (a view whose question stays unheard says that the kernel is busy or gone), `problem` is one line for the person who looks. It stays
    until the person asks for something else; what the view asks by itself has "aside" set.

    A subclass names its file (`view`, and `parts` before it), and gives `still()` (HTML that is whole without scripts) and a `__repr__`
    that is the same on every machine. Where outputs are stored for later (`nbtools.runtime.headless`) only the still form is displayed.
    A view made by running a cell again closes the one that the cell had made before.
    """

    view: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()  # further modules that it uses
    _ipython_display_ = None  # by it ipywidgets 7, which Colab has, would show itself without the still form, and where none is wanted
    heard = traitlets.Int(0).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init_subclass__(cls, **keywords: Any) -> None:
        if "view" in vars(cls):
            cls._esm, cls._css = script(*cls.parts, cls.view), style(cls.view)
        super().__init_subclass__(**keywords)

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._computing = threading.Lock()  # a model and a tokenizer serve one thread at a time
        self.on_msg(self._hear)
        _replace_earlier(self)

    def _hear(self, _: Any, content: Any, buffers: Any = None) -> None:
        if not isinstance(content, dict) or not isinstance(content.get("type"), str):
            return
        answer = getattr(self, f"on_{content['type']}", None)
        self.heard = int(content.get("id", 0))
        if answer is None:
            self.problem = f"{type(self).__name__} cannot {content['type']!r}. Run the cell again."
            return
        if not content.get("aside"):
            self.problem = ""
        self.attempt(answer, content)

    def attempt(self, action: Any, *arguments: Any) -> None:
        """Do it; an error becomes the line that the view shows."""
        try:
            action(*arguments)
        except CourseError as error:
            self.problem = f"{error.problem} {error.remedy}"
        except Exception as error:  # nobody else would see it: the output of a message's handler has no cell
            self.problem = f"{type(error).__name__}: {error}".splitlines()[0]

    def still(self) -> str:
        """The view as HTML without scripts."""
        raise NotImplementedError(type(self).__name__)

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        data: dict[str, Any] = {"text/plain": repr(self), "text/html": self.still()}
        if headless():
            return data
        given = super()._repr_mimebundle_(**keywords)
        live, metadata = given if isinstance(given, tuple) else (given or {}, {})
        return {**live, **data}, metadata


_BY_CELL: dict[tuple[str, str], list[LiveView]] = {}


def _replace_earlier(view: LiveView) -> None:
    """Close the views of this class that an earlier run of the same cell made: else each run keeps one more, with all it holds."""
    cell, run = _cell()
    if cell is None:
        return
    key = (cell, type(view).__name__)
    earlier = _BY_CELL.get(key, [])
    kept = [one for one in earlier if getattr(one, "_run", None) == run]
    for one in earlier:
        if one not in kept:
            one.close()
    view._run = run
    _BY_CELL[key] = [*kept, view]


def _cell() -> tuple[str | None, str | None]:
    """The id of the notebook's cell that runs now and of its run; None outside notebooks and where the front end names no cell."""
    if "IPython" not in sys.modules:
        return None, None
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return None, None
    parent = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else {}
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
