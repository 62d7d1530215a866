"""One view as a page that needs nothing else: with what it has computed, or with the model inside, so that it goes on computing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import TYPE_CHECKING, Any

import anywidget

from nbtools.errors import InputError
from nbtools.widgets.browser.options import view_options
from nbtools.widgets.browser.scripts import page_script, read_scripts, view_styles
from nbtools.widgets.browser.weights import pack_model

if TYPE_CHECKING:
    from nbtools.widgets.live import LiveView

OF_ANY_WIDGET = set(anywidget.AnyWidget.class_trait_names(sync=True)) | {"layout", "tabbable", "tooltip"}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}
@media (prefers-color-scheme: dark) {{ body {{ --jp-ui-font-color1: #e8e6e1; --jp-ui-font-color2: #a9adb6; --jp-layout-color1: #16181c;
  --jp-layout-color2: #1f2228; --jp-border-color1: #363a42; background: #16181c; color: #e8e6e1; }} }}
</style>
</head>
<body><main id="view">{static}</main>
<script>{script}</script>
</body>
</html>
"""
# Only the script that stands in the page may run, and nothing is asked for from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval'; worker-src blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def view_page(view: LiveView, model: bool = False) -> str:
    """The page of a view. `LiveView.to_html` describes it."""
    content = {"view": type(view).__name__, **(_with_models(view) if model else _as_it_is(view))}
    data = json.dumps(content, ensure_ascii=False, default=str).replace("</", "<\\/")
    start = f"{read_scripts(('page/one_view',))}\nshowView({data});"
    script = page_script(start, [type(view)], worker=model)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf8")).digest()).decode("ascii")
    values = {"title": html.escape(repr(view)), "style": "\n".join(view_styles()), "static": view.static_html(), "script": script}
    return PAGE.format(policy=POLICY.format(digest=digest), **values)


def _as_it_is(view: LiveView) -> dict[str, Any]:
    """The view's traits; bytes of what it shows apart, in base64."""
    names = set(view.trait_names(sync=True)) - OF_ANY_WIDGET
    traits = {name: getattr(view, name) for name in names if name != "shown" and not name.startswith("_")}
    plain = {name: value for name, value in view.shown.items() if not isinstance(value, bytes)}
    binary = {name: base64.b64encode(value).decode("ascii") for name, value in view.shown.items() if isinstance(value, bytes)}
    return {"traits": {**traits, "shown": plain, "revision": view.shown.get("revision", 0)}, "binary": binary}


def _with_models(view: LiveView) -> dict[str, Any]:
    """The view's options and its models."""
    options = view_options(repr(view))
    parts = vars(view)
    pair = {"base": parts.get("lm") or parts.get("base"), "tuned": parts.get("tuned")}
    lms = {role: lm for role, lm in pair.items() if lm is not None}
    if options is None or not lms:
        problem = f"{type(view).__name__} has no model that could go into a page."
        raise InputError(problem, "Leave out `model=True`.")
    if "model" in options:
        options["model"] = "base"
    base = lms["base"]
    models = {role: pack_model(lm, lm.name, None if lm is base else base) for role, lm in lms.items()}
    return {"options": options, "models": models, "data": {"blocks": stored_blocks(view.packed)} if "packed" in parts else None}


def stored_blocks(packed: Any, most: int = 8) -> list[dict[str, list[int]]]:
    """The first blocks of packed reviews, as the worker's token inspector takes them."""
    names = {"ids": packed.input_ids, "positions": packed.position_ids, "documents": packed.document_ids}
    return [{name: rows[index].tolist() for name, rows in names.items()} for index in range(min(most, len(packed)))]
