"""What every live view has in common: one module for the browser, a still form, and one clear line when something goes wrong."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from nbtools.errors import InputError, one_line
from nbtools.plots.table import as_text
from nbtools.runtime import cell_request, interactive

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

    A subclass names its file (`view`, and `parts` before it) and the attributes that hold its data (`holds`), and gives `still()` (HTML
    that is whole without scripts) and a `__repr__` that is the same on every machine.

    Where nobody looks on (`nbtools.runtime.interactive`) only the still form is displayed, and no widget state is left to be stored:
    readers such as nbconvert prefer it to every other form. A view only shows something, so in a notebook one that cannot be made shows
    why, and the cells after it run. A view made by running a cell again closes the one that the cell had made before.
    """

    view: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()  # further modules that it uses
    holds: ClassVar[tuple[str, ...]] = ()  # attributes that `close` drops
    _ipython_display_ = None  # by it ipywidgets 7, which Colab has, would show itself without the still form, and where none is wanted
    run: str | None = None  # of the cell that made it
    _instead = ""  # shown in its place once it is closed, or where it could not be made
    heard = traitlets.Int(0).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init_subclass__(cls, **keywords: Any) -> None:
        if "view" in vars(cls):
            cls._esm, cls._css = script(*cls.parts, cls.view), style(cls.view)
        if "__init__" in vars(cls):
            cls.__init__ = _shown_where_it_fails(cls.__init__)  # type: ignore[method-assign]
        if "__repr__" in vars(cls):
            cls.__repr__ = _without_data(cls.__repr__)  # type: ignore[method-assign]
        super().__init_subclass__(**keywords)

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._computing = threading.Lock()  # of the view's own state; a model has its own
        self.on_msg(self._hear)
        _replace_earlier(self)

    def open(self) -> None:
        if interactive():
            super().open()

    def close(self) -> None:
        """Take the view from the page and drop its data. IPython's `Out` and the names `_`, `__` go on holding the object itself."""
        if not self._instead:
            self._instead = repr(self) if "_computing" in vars(self) else type(self).__name__
        if stop := vars(self).get("_stop"):  # whatever computes for this view in a thread
            stop.set()
        super().close()
        self.__dict__.pop("_repr_mimebundle_", None)  # by it ipywidgets would take away the line that is shown instead
        self.unobserve_all()
        for name in self.holds:
            self.__dict__.pop(name, None)
        for name, trait in self.traits(sync=True).items():
            if issubclass(trait.this_class, LiveView) and name in self._trait_values:
                self.set_trait(name, trait.default(self))
        if "layout" in self._trait_values:
            self.layout.close()  # a widget of its own, which ipywidgets would keep

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there: the data of a view that was closed, or that could not be made."""
        if name in type(self).holds and self._instead:
            raise InputError(f"This view is closed, or could not be made: {self._instead}", "Run its cell again.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
        except Exception as error:  # nobody else would see it: the output of a message's handler has no cell
            self.problem = one_line(error)

    def still(self) -> str:
        """The view as HTML without scripts."""
        raise NotImplementedError(type(self).__name__)

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        if self._instead:
            return {"text/plain": self._instead, "text/html": as_text(self._instead)}
        try:
            data: dict[str, Any] = {"text/plain": repr(self), "text/html": self.still()}
        except Exception as error:
            data = {"text/plain": one_line(error), "text/html": as_text(one_line(error))}
        if self.comm is None or not interactive():
            return data
        given = super()._repr_mimebundle_(**keywords)
        live, metadata = given if isinstance(given, tuple) else (given or {}, {})
        return {**live, **data}, metadata


def _shown_where_it_fails(make: Callable[..., None]) -> Callable[..., None]:
    """A view's `__init__` that in a notebook ends with the error as all that the view shows. Elsewhere, in a program, it raises it."""

    @functools.wraps(make)
    def made(self: LiveView, *arguments: Any, **keywords: Any) -> None:
        try:
            make(self, *arguments, **keywords)
        except Exception as error:
            if not cell_request():
                raise
            self._instead = f"{type(self).__name__} cannot be shown. {one_line(error)}"
            self.close()

    return made


def _without_data(describe: Callable[..., str]) -> Callable[..., str]:
    """A view's `__repr__` that also works when its data are gone."""

    @functools.wraps(describe)
    def described(self: LiveView) -> str:
        return self._instead or describe(self)

    return described


_BY_CELL: dict[tuple[str, str], list[LiveView]] = {}


def _replace_earlier(view: LiveView) -> None:
    """Close the views of this class that an earlier run of the same cell made: else each run keeps one more, with all it holds."""
    cell, run = _cell()
    if cell is None:
        return
    key = (cell, type(view).__name__)
    earlier = _BY_CELL.get(key, [])
    kept = [one for one in earlier if one.run == run]
    for one in earlier:
        if one not in kept:
            one.close()
    view.run = run
    _BY_CELL[key] = [*kept, view]


def _cell() -> tuple[str | None, str | None]:
    """The id of the notebook's cell that runs now, or its text where the front end names none, and of its run; None outside notebooks."""
    request = cell_request()
    cell = request.get("metadata", {}).get("cellId") or request.get("content", {}).get("code")
    return cell, request.get("header", {}).get("msg_id")
