"""`nbtools refresh`: the notebooks' stored outputs, made again."""

from __future__ import annotations

from nbtools.cli.frame import Names, command


@command(example="nbtools refresh 01_attention", hidden=True)
def refresh(notebooks: Names = None) -> int:
    """Execute notebooks and store their outputs in place, for those who develop the course."""
    from nbtools.notebooks import choose_notebooks
    from nbtools.runs import refresh_notebooks

    refresh_notebooks(choose_notebooks(notebooks or ()))
    return 0
