"""The scripts of the pages: concatenated from the JavaScript of the views, of the engine and of the page, without a build step."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nbtools.widgets import AttentionExplorer, Microscope, ParameterForm, PromptLab, TokenInspector, TrainingMonitor
from nbtools.widgets.front_end import HERE as WIDGETS
from nbtools.widgets.front_end import script
from nbtools.widgets.live import LiveView

HERE = Path(__file__).parent
ENGINE = ("engine/tokenizer", "engine/random", "engine/matmul", "engine/weights", "engine/gpt2")
KERNEL = (
    "kernel/language_model",
    "kernel/requests",
    "kernel/tree",
    "kernel/lab",
    "kernel/explorer",
    "kernel/microscope",
    "kernel/inspector",
    "kernel/worker",
)
PAGE = ("page/host", "page/without_models", "page/reading")
VIEWS: tuple[type[LiveView], ...] = (PromptLab, AttentionExplorer, Microscope, TokenInspector, TrainingMonitor, ParameterForm)
EXPORTS = re.compile(r"^export (default )?\{[^}]*\};?$", re.MULTILINE)


def read_scripts(names: tuple[str, ...]) -> str:
    """Files of this package, by their names without the ending."""
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf8") for name in names)


def worker_script() -> str:
    """The worker's source: the engine, the kernel, and of the views' modules what computes without a page."""
    shared = [(WIDGETS / f"{name}.js").read_text(encoding="utf8") for name in ("elements", "warpers")]
    return "\n".join([*shared, read_scripts(ENGINE), read_scripts(KERNEL)])


def page_script() -> str:
    """course.js: each view in its own scope, the worker's source as text, and what starts the page."""
    views = []
    for view in VIEWS:
        source = EXPORTS.sub("", script(*view.modules, view.view))
        views.append(f"course.views.{view.__name__} = (() => {{\n{source}\nreturn render;\n}})();")
    host, *rest = (read_scripts((name,)) for name in PAGE)
    return "\n".join(['"use strict";', "(() => {", f"const KERNEL = {json.dumps(worker_script())};", host, *views, *rest, "})();\n"])


def page_style() -> str:
    """course.css: the pages' own rules after those of a report and of the views."""
    report = HERE.parent / "report" / "templates" / "report.css"
    views = [WIDGETS / f"{name}.css" for name in ("shared", *(view.view for view in VIEWS))]
    return "\n".join(file.read_text(encoding="utf8") for file in (report, *views, HERE / "page" / "course.css"))


def register(name: str, value: object) -> str:
    """A script of the folder `live` that only holds data: from a disk, scripts are all that a page may load."""
    return f"course.parts[{json.dumps(name)}] = {json.dumps(value, ensure_ascii=False)};\n"
