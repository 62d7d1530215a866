"""Static pages about a run or a sweep, from templates: no network, no script, all values escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.report.layout import PAGES
from nbtools.report.page import write_run_page
from nbtools.storage import resolve_path
from nbtools.system import headless
from nbtools.values import checked

__all__ = ["PageView", "show_page", "write_page", "write_run_page"]


class PageView:
    """A page on disk, shown in its own frame, so that its style stays there. Stored outputs hold only its path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        data = {"text/plain": repr(self)}
        if not headless():
            page = self.path.read_text(encoding="utf8")
            data["text/html"] = str(PAGES.render("frame.html", page=page, name=self.path.name))
        return data

    def __repr__(self) -> str:
        return f"The page: {self.path}"


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
