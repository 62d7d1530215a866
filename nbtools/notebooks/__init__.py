"""Notebooks as data: files, parameters, recorded costs and expected values.

Notebooks themselves call `box`, `expected` and `recorded`; `nbtools.runs` executes notebooks.
"""

from nbtools.notebooks.catalog import Notebook, choose_notebooks, read_notebook
from nbtools.notebooks.costs import box, read_costs
from nbtools.notebooks.expected import expected, read_expected
from nbtools.notebooks.parameters import read_parameters
from nbtools.notebooks.recorded import read_recorded, recorded

__all__ = [
    "Notebook",
    "box",
    "choose_notebooks",
    "expected",
    "read_costs",
    "read_expected",
    "read_notebook",
    "read_parameters",
    "read_recorded",
    "recorded",
]
