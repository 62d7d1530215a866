"""Notebooks as data: files, parameters, recorded costs and expected values.

Notebooks themselves call `box` and `expected`; `nbtools.runs` executes notebooks.
"""

from nbtools.notebooks.catalog import Notebook, choose_notebooks, find_notebooks, read_notebook
from nbtools.notebooks.costs import box, read_costs
from nbtools.notebooks.expected import expected, read_expected
from nbtools.notebooks.forecast import Forecast
from nbtools.notebooks.parameters import Parameter, check_parameters, read_parameters

__all__ = [
    "Forecast",
    "Notebook",
    "Parameter",
    "box",
    "check_parameters",
    "choose_notebooks",
    "expected",
    "find_notebooks",
    "read_costs",
    "read_expected",
    "read_notebook",
    "read_parameters",
]
