"""Notebooks as programs: find them, read and check their parameters, run them, refresh their stored outputs.

`box` is what a notebook itself calls. The rest serves the command line; running needs papermill and ipykernel (extra `run`).
"""

from nbtools.notebooks.catalog import Notebook, choose_notebooks, find_notebooks, read_notebook
from nbtools.notebooks.costs import box, read_costs
from nbtools.notebooks.course import Observer, Outcome, Plan, plan_run, read_status, run_notebooks
from nbtools.notebooks.execution import Execution, Failure, execute
from nbtools.notebooks.expected import expected, read_expected
from nbtools.notebooks.forecast import Forecast
from nbtools.notebooks.parameters import Parameter, check_parameters, read_parameters
from nbtools.notebooks.refresh import refresh_notebooks

__all__ = [
    "Execution",
    "Failure",
    "Forecast",
    "Notebook",
    "Observer",
    "Outcome",
    "Parameter",
    "Plan",
    "box",
    "check_parameters",
    "choose_notebooks",
    "execute",
    "expected",
    "find_notebooks",
    "plan_run",
    "read_costs",
    "read_expected",
    "read_notebook",
    "read_parameters",
    "read_status",
    "refresh_notebooks",
    "run_notebooks",
]
