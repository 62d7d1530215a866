"""The JavaScript and CSS of the views, as text, and their hot reload during development."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMON = ("elements", "shared")
"""Modules that every view uses, in order: elements and controls, then the connection to the kernel."""
POLL_SECONDS = 0.5


@functools.cache
def script(*names: str) -> str:
    """The ES module of a view: the common modules and those in `names`, concatenated.

    anywidget takes one text per view and imports it from a blob URL, where a relative `import` of a second file has no base; and views
    must work without a network and without a build step.
    """
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf8") for name in (*COMMON, *names))


@functools.cache
def style(name: str) -> str:
    """The style sheet of a view: the common rules and its own."""
    own = HERE / f"{name}.css"
    return (HERE / "shared.css").read_text(encoding="utf8") + (own.read_text(encoding="utf8") if own.is_file() else "")


def hot_reload_wanted() -> bool:
    """Whether changed files are to be sent to open views: where ANYWIDGET_HMR=1, anywidget's own switch, is set."""
    return os.environ.get("ANYWIDGET_HMR") == "1"


def follow_files(view: Any) -> None:
    """Give `view`, and every later one of its class, the files as they are now, and send them again whenever one changes.

    anywidget reloads a view whose `_esm` or `_css` changes. It can also watch a file itself if it is given a path; but a view is made of
    several files, and version 0.9 needs `watchfiles` for any path. So views are given text, and in development the files are watched here.
    """
    type(view)._esm, type(view)._css = script(*view.modules, view.view), style(view.view)
    _followed.add(view)
    _start_watching()


def reload() -> None:
    """Read all files again and send them to the views that follow them."""
    script.cache_clear()
    style.cache_clear()
    for view in list(_followed):
        view._esm, view._css = script(*view.modules, view.view), style(view.view)


_followed: weakref.WeakSet[Any] = weakref.WeakSet()


@functools.cache
def _start_watching() -> None:
    threading.Thread(target=_watch, args=(_modification_times(),), name="hot-reload", daemon=True).start()


def _watch(known: dict[Path, int]) -> None:
    while True:
        time.sleep(POLL_SECONDS)
        if (found := _modification_times()) != known:
            known = found
            reload()


def _modification_times() -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for pattern in ("*.js", "*.css") for file in HERE.glob(pattern)}
