"""A page inside a notebook: shown whole where the notebook is live, named where its outputs are stored."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from nbtools.runtime import headless


class PageView:
    """A page on disk, shown in a frame of its own, so that its style stays there. Stored outputs hold its place only.

    height  of the frame, in pixels
    """

    def __init__(self, path: Path, height: int = 620) -> None:
        self.path, self.height = path, height

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        data = {"text/plain": repr(self)}
        if not headless():
            source = html.escape(self.path.read_text(encoding="utf8"))
            data["text/html"] = (
                f'<iframe srcdoc="{source}" sandbox="allow-popups" title="The page {html.escape(self.path.name)}" '
                f'style="width:100%; height:{self.height}px; border:1px solid #8888"></iframe>'
            )
        return data

    def __repr__(self) -> str:
        return f"The page: {self.path}"
