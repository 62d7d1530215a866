"""Matplotlib figures and small tables of results that other parts of the package compute."""

from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, PURPLE, Picture, new_figure
from nbtools.plots.table import Table

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "Picture", "Table", "new_figure"]
