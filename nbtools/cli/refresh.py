"""`nbtools refresh`: run notebooks and store their outputs."""

from __future__ import annotations

from nbtools.cli.frame import Names, command


@command(example="nbtools refresh 01_attention", hidden=True)
def refresh(notebooks: Names = None) -> int:
    """Execute notebooks and store their outputs in place, for developers of the course."""
    from nbtools.notebooks import choose_notebooks
    from nbtools.runs import refresh_notebooks

    refresh_notebooks(choose_notebooks(notebooks or ()))
    return 0
