"""The parameter form: a notebook's own parameters as fields, an estimate of what a run with them takes, and the command that runs it."""

from __future__ import annotations

from typing import Any, ClassVar

import traitlets

from nbtools.errors import CourseError, InputError
from nbtools.notebooks import choose_notebooks, read_parameters
from nbtools.notebooks.parameters import check_secret, coerce
from nbtools.plots import Table
from nbtools.runs import plan_run
from nbtools.runs.budget import preview
from nbtools.texts import duration, gigabytes
from nbtools.values import checked
from nbtools.widgets.live import LiveView
from nbtools.widgets.requests import Request


class ParameterForm(LiveView):
    """The fields of a notebook's `parameters` cell.

    notebook  a number ("04"), a name or a path, as for `nbtools run`

    `texts` is what the fields hold, by name; `values` are those that differ from the cell's, checked and converted. `set_here` gives all
    parameters their values in the notebook that shows the form, as running its `parameters` cell does. Raises InputError for a notebook
    that does not exist or has no parameters.
    """

    view: ClassVar[str] = "parameter_form"
    modules: ClassVar[tuple[str, ...]] = ("code",)
    holds: ClassVar[tuple[str, ...]] = ("notebook", "parameters", "values", "problems", "_thread")
    threaded: ClassVar[frozenset[str]] = frozenset({"estimate"})

    texts: traitlets.Dict[str, str] = traitlets.Dict().tag(sync=True)

    @checked()
    def __init__(self, notebook: str = "04") -> None:
        [self.notebook] = choose_notebooks([notebook])
        self.parameters = read_parameters(self.notebook)
        if not self.parameters:
            raise InputError(f"{self.notebook.name} has no parameters.", "Tag its cell of parameters with `parameters`.")
        fields = [
            {"name": one.name, "kind": one.kind, "default": str(one.default), "help": one.help, "optional": one.optional}
            for one in self.parameters.values()
        ]
        texts = self._defaults()
        shown = {"title": self.notebook.name, "fields": fields, "running": "", **self._check(texts)}
        super().__init__(texts=texts, shown=shown)
        self.observe(lambda change: self.show(**self._check(self.texts)), names="texts")

    def _defaults(self) -> dict[str, str]:
        return {name: str(parameter.default) for name, parameter in self.parameters.items()}

    def _check(self, texts: dict[str, str]) -> dict[str, Any]:
        """Check every field. An error is shown beside its field."""
        self.values: dict[str, Any] = {}
        self.problems: dict[str, str] = {}
        self.cost = ""
        for name, parameter in self.parameters.items():
            text = str(texts.get(name, parameter.default))
            if text == str(parameter.default):
                continue
            try:
                check_secret(name, text)
                self.values[name] = coerce(parameter, text)
            except CourseError as error:
                self.problems[name] = f"{error.problem} {error.remedy}"
        values = {name: str(value) for name, value in self.values.items()}
        return {"problems": self.problems, "values": values, "cost": "", "notice": ""}

    def on_edit(self, request: Request) -> None:
        """A field was edited."""
        self.texts = {**self.texts, str(request["name"]): str(request["text"])}

    def on_reset(self, request: Request) -> None:
        """All fields as in the cell."""
        self.texts = self._defaults()

    def on_apply(self, request: Request) -> dict[str, Any]:
        """Set the parameters in the notebook."""
        return {"notice": self.set_here()}

    def set_here(self) -> str:
        """Give every parameter its value in the notebook that shows this form. Returns what was set, as a sentence.

        Raises InputError while a field has an error.
        """
        if self.problems:
            raise InputError(f"The parameters were not set: {', '.join(self.problems)}.", "Correct the marked fields first.")
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None:
            raise InputError("There is no notebook to set parameters in.", "Open the form in one.")
        shell.push({name: self.values.get(name, parameter.default) for name, parameter in self.parameters.items()})
        changed = ", ".join(f"{name} = {value!r}" for name, value in self.values.items()) or "all as in the cell"
        return f"Set here: {changed}. Run the cells below again."

    def on_estimate(self, request: Request) -> dict[str, Any]:
        """Time, memory and disk of a run, from a few trial steps that take seconds."""
        if self.problems:
            raise InputError("A field has an error.", "Correct the marked fields first.")
        [cost] = preview(plan_run([str(self.notebook.path)], self.values)).costs
        time = "Time unknown" if cost.seconds is None else f"About {duration(cost.seconds)}"
        memory = "memory unknown" if cost.memory_bytes is None else f"{gigabytes(cost.memory_bytes)} of memory"
        self.cost = f"{time}, {memory}, {gigabytes(cost.disk_bytes)} of disk, on this machine. {cost.note}".strip()
        return {"cost": self.cost}

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the estimate that was asked for, and return it as a line."""
        self._join(seconds)
        return self.cost

    def static_html(self) -> str:
        rows = [[name, self.texts[name], parameter.help] for name, parameter in self.parameters.items()]
        return Table(["parameter", "value", "description"], rows, f"Parameters of {self.notebook.name}")._repr_html_()

    def describe(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return f"ParameterForm({self.notebook.name!r}{', ' if given else ''}{given})"
