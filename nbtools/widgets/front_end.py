"""The JavaScript and CSS of the views, as text, and their hot reload during development."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMON = ("elements", "shared")
"""Modules that every view uses, in order: elements and controls, then the connection to the kernel."""
POLL_SECONDS = 0.5


def script(*names: str) -> str:
    """The ES module of a view: the common modules and those in `names`, concatenated.

    anywidget takes one text per view and imports it from a blob URL, where a relative `import` of a second file has no base; and views
    must work without a network and without a build step.
    """
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf8") for name in (*COMMON, *names))


def style(name: str) -> str:
    """The style sheet of a view: the common rules and its own."""
    own = HERE / f"{name}.css"
    return (HERE / "shared.css").read_text(encoding="utf8") + (own.read_text(encoding="utf8") if own.is_file() else "")


def follow_files(view: Any) -> None:
    """Give `view` the files as they are now, and again whenever one changes, until it is closed.

    anywidget reloads a view whose `_esm` or `_css` changes. It can also watch a file itself if it is given a path; but a view is made of
    several files, and version 0.9 needs `watchfiles` for any path. So views are given text, and in development the files are watched here.
    """
    type(view)._esm, type(view)._css = script(*view.modules, view.view), style(view.view)
    threading.Thread(target=_follow, args=(weakref.ref(view), _modification_times()), name="hot-reload", daemon=True).start()


def _follow(reference: weakref.ref[Any], known: dict[Path, int]) -> None:
    while True:
        time.sleep(POLL_SECONDS)
        view = reference()
        if view is None or view.comm is None:
            return
        if (found := _modification_times()) != known:
            known = found
            view._esm, view._css = script(*view.modules, view.view), style(view.view)
        del view


def _modification_times() -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in HERE.iterdir() if file.suffix in (".js", ".css")}
