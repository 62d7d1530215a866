"""Matplotlib figures and small tables of what the other rooms computed. Nothing here computes a result."""

from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, PURPLE, Picture, new_figure
from nbtools.plots.table import Table

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "Picture", "Table", "new_figure"]
