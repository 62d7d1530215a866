"""Matplotlib figures of what the other rooms computed. Nothing here computes a result."""

from nbtools.plots.picture import BLUE, GREEN, GREY, ORANGE, PURPLE, Picture, new_figure

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "Picture", "new_figure"]
