"""The scripts of pages with live views: the JavaScript of views, engine and host, concatenated; there is no build step."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from nbtools.widgets import AttentionExplorer, Microscope, ParameterForm, PromptLab, TokenInspector, TrainingMonitor
from nbtools.widgets.front_end import HERE as WIDGETS
from nbtools.widgets.front_end import script
from nbtools.widgets.live import LiveView

HERE = Path(__file__).parent
ENGINE = ("engine/base64", "engine/tokenizer", "engine/matmul", "engine/weights", "engine/gpt2")
KERNEL = (
    "kernel/language_model",
    "kernel/requests",
    "kernel/continuation",
    "kernel/lab",
    "kernel/explorer",
    "kernel/microscope",
    "kernel/inspector",
    "kernel/worker",
)
HOST = ("engine/base64", "page/host", "page/without_models")
VIEWS: tuple[type[LiveView], ...] = (PromptLab, AttentionExplorer, Microscope, TokenInspector, TrainingMonitor, ParameterForm)
EXPORTS = re.compile(r"^export (default )?\{[^}]*\};?$", re.MULTILINE)


def read_scripts(names: tuple[str, ...]) -> str:
    """Files of this package, by their names without the ending."""
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf8") for name in names)


def worker_script() -> str:
    """The worker's source: the engine, the kernel, and of the views' modules what computes without a page."""
    shared = [(WIDGETS / f"{name}.js").read_text(encoding="utf8") for name in ("elements", "warpers", "random")]
    return "\n".join([*shared, read_scripts(ENGINE), read_scripts(KERNEL)])


def page_script(start: str, views: Sequence[type[LiveView]] = VIEWS, worker: bool = True) -> str:
    """One script for a page: the worker's source as text, the host, each view in its own scope, and `start`, which begins.

    views   those that the page may show
    worker  whether the page has models of language
    """
    source = json.dumps(worker_script() if worker else "").replace("</", "<\\/")  # it may stand in a page
    parts = ['"use strict";', "(() => {", f"const KERNEL = {source};", read_scripts(HOST)]
    for view in views:
        module = EXPORTS.sub("", script(*view.modules, view.view))
        parts.append(f"course.views.{view.__name__} = (() => {{\n{module}\nreturn render;\n}})();")
    return "\n".join([*parts, start, "})();\n"])


def view_styles() -> list[str]:
    """The views' style sheets, the common one first."""
    return [(WIDGETS / f"{name}.css").read_text(encoding="utf8") for name in ("shared", *(view.view for view in VIEWS))]


def register(name: str, value: object) -> str:
    """A script of the folder `live` that only holds data: from a disk, scripts are all that a page may load."""
    return f"course.parts[{json.dumps(name)}] = {json.dumps(value, ensure_ascii=False)};\n"
