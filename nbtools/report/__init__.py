"""Static pages about a run, a sweep and the course, from templates: no network, no script, all values escaped."""

from __future__ import annotations

from pathlib import Path

from nbtools.report.page import write_run_page
from nbtools.report.site import write_site
from nbtools.report.view import PageView
from nbtools.storage import resolve_path
from nbtools.values import checked

__all__ = ["PageView", "show_page", "write_page", "write_run_page", "write_site"]


@checked()
def write_page(folder: str | Path) -> Path:
    """Write the page of the run or sweep in a folder and return its path. Raises RunError if the folder contains neither."""
    from nbtools.report.sweep_page import write_sweep_page

    folder = resolve_path(folder)
    return write_sweep_page(folder) if (folder / "sweep.json").is_file() else write_run_page(folder)


@checked()
def show_page(folder: str | Path) -> PageView:
    """Write the page about a folder, and show it in a notebook. Raises RunError as `write_page` does."""
    return PageView(write_page(folder))
