"""The parameter form: a notebook's own parameters as fields, what a run with them will cost, and the command that runs it."""

from __future__ import annotations

import shlex
import threading
from typing import Any, ClassVar

import traitlets

from nbtools.errors import CourseError, InputError
from nbtools.notebooks import choose_notebooks, read_parameters
from nbtools.notebooks.parameters import check_secret, coerce
from nbtools.plots import Table
from nbtools.runs import plan_run
from nbtools.runs.budget import preview
from nbtools.values import checked
from nbtools.widgets.live import LiveView


class ParameterForm(LiveView):
    """The fields of a notebook's `parameters` cell.

    notebook  a number ("04"), a name or a path, as `nbtools run` takes them

    `values` are those that differ from the cell's, checked and of their types; `set_here` writes all of them into the notebook that
    shows the form, as running its `parameters` cell does. Raises InputError for a notebook that is not there or has no parameters.
    """

    view: ClassVar[str] = "parameter_form"
    holds: ClassVar[tuple[str, ...]] = ("notebook", "parameters", "values", "_thread")

    title = traitlets.Unicode().tag(sync=True)
    fields: traitlets.List[Any] = traitlets.List().tag(sync=True)  # name, kind, default as text, help, whether None is allowed
    texts = traitlets.Dict().tag(sync=True)  # what stands in the fields, by name
    problems = traitlets.Dict().tag(sync=True)  # by name
    command = traitlets.Unicode().tag(sync=True)
    cost = traitlets.Unicode().tag(sync=True)
    pricing = traitlets.Bool(False).tag(sync=True)
    done = traitlets.Unicode().tag(sync=True)

    @checked()
    def __init__(self, notebook: str = "04") -> None:
        [self.notebook] = choose_notebooks([notebook])
        self.parameters = read_parameters(self.notebook)
        if not self.parameters:
            raise InputError(f"{self.notebook.name} has no parameters.", "Tag its cell of parameters with `parameters`.")
        self.values: dict[str, Any] = {}
        self._thread: threading.Thread | None = None
        fields = [
            {"name": one.name, "kind": one.kind, "default": str(one.default), "help": one.help, "optional": one.optional}
            for one in self.parameters.values()
        ]
        super().__init__(title=self.notebook.name, fields=fields, texts={one["name"]: one["default"] for one in fields})
        self._read()
        self.observe(lambda change: self._read(), names="texts")

    def _read(self) -> None:
        """Check every field; what is wrong is said beside it."""
        values, problems = {}, {}
        for name, parameter in self.parameters.items():
            text = str(self.texts.get(name, parameter.default))
            if text == str(parameter.default):
                continue
            try:
                check_secret(name, text)
                values[name] = coerce(parameter, text)
            except CourseError as error:
                problems[name] = f"{error.problem} {error.remedy}"
        self.values = values
        options = "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in values.items())
        with self.hold_sync():
            self.problems, self.cost, self.done = problems, "", ""
            self.command = "" if problems else f"papermill notebooks/{self.notebook.name}.ipynb out.ipynb{options}"

    def on_reset(self, content: dict[str, Any]) -> None:
        self.texts = {name: str(parameter.default) for name, parameter in self.parameters.items()}

    def on_apply(self, content: dict[str, Any]) -> None:
        self.set_here()

    def set_here(self) -> None:
        """Give every parameter its value in the notebook that shows this form. Raises InputError while a field is wrong."""
        if self.problems:
            raise InputError(f"{', '.join(self.problems)}: not set.", "Mend what is marked first.")
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None:
            raise InputError("There is no notebook to set parameters in.", "Open the form in one.")
        values = {name: self.values.get(name, parameter.default) for name, parameter in self.parameters.items()}
        shell.push(values)
        changed = ", ".join(f"{name} = {value!r}" for name, value in self.values.items()) or "all as in the cell"
        self.done = f"Set here: {changed}. Run the cells below again."

    def on_price(self, content: dict[str, Any]) -> None:
        """What a run will take, by probe steps; in a thread, for they take seconds."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self.problems:
            raise InputError("A field is wrong.", "Mend what is marked first.")
        self.pricing = True
        self._thread = threading.Thread(target=self._price, name="parameter-form", daemon=True)
        self._thread.start()

    def _price(self) -> None:
        def look() -> None:
            [cost] = preview(plan_run([str(self.notebook.path)], self.values)).costs
            time = "Time not known" if cost.seconds is None else f"About {cost.seconds / 60:.1f} minutes"
            memory = "memory not known" if cost.memory_bytes is None else f"{cost.memory_bytes / 1e9:.1f} GB of memory"
            self.cost = f"{time}, {memory}, {cost.disk_bytes / 1e9:.2f} GB of disk, on this machine. {cost.note}".strip()

        try:
            with self._computing:
                self.attempt(look)
        finally:
            self.pricing = False

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the price that was asked for, and return its line."""
        if self._thread is not None:
            self._thread.join(seconds)
        return str(self.cost)

    def still(self) -> str:
        rows = [[one["name"], self.texts[one["name"]], one["help"]] for one in self.fields]
        return Table(["parameter", "value", "what it is"], rows, f"Parameters of {self.title}")._repr_html_()

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return f"ParameterForm({self.title}{', ' if given else ''}{given})"
