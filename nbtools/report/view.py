"""A page inside a notebook: shown in full where the notebook is live, by its path where outputs are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.report.layout import PAGES
from nbtools.system import headless


class PageView:
    """A page on disk, shown in its own frame, so that its style stays there. Stored outputs hold only its path.

    height  of the frame, in pixels
    """

    def __init__(self, path: Path, height: int = 620) -> None:
        self.path, self.height = path, height

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        data = {"text/plain": repr(self)}
        if not headless():
            page = self.path.read_text(encoding="utf8")
            data["text/html"] = str(PAGES.render("frame.html", page=page, name=self.path.name, height=self.height))
        return data

    def __repr__(self) -> str:
        return f"The page: {self.path}"
