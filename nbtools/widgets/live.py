"""What every view has in common: when it is displayed live or as static HTML, when it is closed, and how it reports a failure."""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Callable
from typing import Any, ClassVar

from nbtools.errors import InputError, one_line
from nbtools.plots.table import as_text
from nbtools.system import cell_request, interactive
from nbtools.templates import Templates
from nbtools.widgets.front_end import HERE, follow_files, script, style
from nbtools.widgets.requests import RequestWidget

TEMPLATES = Templates(HERE, as_text=as_text, base64=lambda data: base64.b64encode(data).decode("ascii"))
"""The static forms that are more than a table."""


class LiveView(RequestWidget):
    """A view of results that other parts of the package compute. Requests of its JavaScript are answered by `RequestWidget`.

    A subclass names its JavaScript file (`view`), further modules that it uses (`modules`) and the attributes that hold its data (`holds`),
    and defines `static_html()` and `describe()`.

    Where nobody is watching (`nbtools.system.interactive`) only the static form is displayed, and no widget state is left to be stored:
    readers such as nbconvert prefer widget state to every other form. In a notebook a view that cannot be made shows why, and does not
    stop the cells after it. A view that is made by running a cell again closes the one that the cell made before.
    """

    view: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    holds: ClassVar[tuple[str, ...]] = ()
    _ipython_display_ = None  # ipywidgets 7 (Colab) would display the view by it, without the static form and even where none is wanted
    run: str | None = None  # the execution of the cell that made it
    _replacement = ""  # text that is displayed instead of a view that was closed, or that could not be made

    def __init_subclass__(cls, **keywords: Any) -> None:
        if "view" in vars(cls):
            cls._esm, cls._css = script(*cls.modules, cls.view), style(cls.view)
        if "__init__" in vars(cls):
            cls.__init__ = _displays_its_error(cls.__init__)  # type: ignore[method-assign]
        super().__init_subclass__(**keywords)

    def __init__(self, **keywords: Any) -> None:
        if os.environ.get("ANYWIDGET_HMR") == "1":  # anywidget's own switch
            follow_files(self)
        super().__init__(**keywords)
        _replace_earlier(self)

    def open(self) -> None:
        if interactive():
            super().open()

    def close(self) -> None:
        """Remove the view from the page and drop its data. IPython's `Out` and the names `_`, `__` keep the object itself."""
        made = "_active" in vars(self)
        if not self._replacement:
            self._replacement = repr(self) if made else type(self).__name__
        if made:
            self.cancel()
        super().close()
        self.__dict__.pop("_repr_mimebundle_", None)  # ipywidgets sets it to None, which would hide the text that is displayed instead
        self.unobserve_all()
        for name in self.holds:
            self.__dict__.pop(name, None)
        for name, trait in self.traits(sync=True).items():
            if issubclass(trait.this_class, RequestWidget) and name in self._trait_values:
                self.set_trait(name, trait.default(self))
        if "layout" in self._trait_values:
            self.layout.close()  # a widget of its own, which ipywidgets would keep

    def __getattr__(self, name: str) -> Any:
        """Called only for a missing attribute: the data of a view that was closed, or that could not be made."""
        if name in type(self).holds and self._replacement:
            raise InputError(f"This view is closed, or could not be made: {self._replacement}", "Run its cell again.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def describe(self) -> str:
        """The view's `repr` while it is open, the same on every machine: a call with literal values, of which pages make a live view."""
        raise NotImplementedError(type(self).__name__)

    def __repr__(self) -> str:
        return self._replacement or self.describe()

    def static_html(self) -> str:
        """The view as HTML without scripts, for stored outputs and for places without widgets."""
        raise NotImplementedError(type(self).__name__)

    def to_html(self, *, model: bool = False) -> str:
        """The view as one page that needs no network, no kernel and no other file.

        model  whether its models go into the page, so that it goes on computing there; GPT-2's kind only. Otherwise it shows what it has
               computed so far

        Raises InputError where there is no model to put in, ModelError for a model that pages cannot run.

        Example: `Path("lab.html").write_text(lab.to_html(model=True), encoding="utf8")`
        """
        from nbtools.widgets.browser.one_page import view_page

        return view_page(self, model)

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        if self._replacement:
            return {"text/plain": self._replacement, "text/html": as_text(self._replacement)}
        try:
            data: dict[str, Any] = {"text/plain": repr(self), "text/html": str(self.static_html())}
        except Exception as error:
            data = {"text/plain": one_line(error), "text/html": as_text(one_line(error))}
        if self.comm is None or not interactive():
            return data
        given = super()._repr_mimebundle_(**keywords)
        live, metadata = given if isinstance(given, tuple) else (given or {}, {})
        return {**live, **data}, metadata


def _displays_its_error(make: Callable[..., None]) -> Callable[..., None]:
    """A view's `__init__` that in a notebook leaves a view that displays the error. In a program it raises the error."""

    @functools.wraps(make)
    def made(self: LiveView, *arguments: Any, **keywords: Any) -> None:
        try:
            make(self, *arguments, **keywords)
        except Exception as error:
            if not cell_request():
                raise
            self._replacement = f"{type(self).__name__} cannot be shown. {one_line(error)}"
            self.close()

    return made


_BY_CELL: dict[tuple[str, str], list[LiveView]] = {}


def _replace_earlier(view: LiveView) -> None:
    """Close the views of this class that an earlier run of the same cell made. Otherwise each run would keep one more with its data."""
    cell, run = _cell()
    if cell is None:
        return
    key = (cell, type(view).__name__)
    earlier = _BY_CELL.get(key, [])
    kept = [other for other in earlier if other.run == run]
    for other in earlier:
        if other not in kept:
            other.close()
    view.run = run
    _BY_CELL[key] = [*kept, view]


def _cell() -> tuple[str | None, str | None]:
    """The id of the running cell (its text, where the front end sends no id) and of this execution; None outside notebooks."""
    request = cell_request()
    cell = request.get("metadata", {}).get("cellId") or request.get("content", {}).get("code")
    return cell, request.get("header", {}).get("msg_id")
