"""Which outputs of the notebooks are views, with which options, and the data that the pages store for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.data import load_reviews, pack
from nbtools.models import LanguageModel
from nbtools.notebooks import Notebook, read_parameters
from nbtools.training.run_state import read_run
from nbtools.widgets.browser.one_page import stored_blocks
from nbtools.widgets.browser.options import view_options
from nbtools.widgets.browser.scripts import VIEWS

NAMES = {view.__name__ for view in VIEWS}
REVIEWS = 60  # that the stored blocks are packed from


def live_view(cell: dict[str, Any]) -> dict[str, Any] | None:
    """The view that a cell displays and its options, from the view's plain text, which is a call with literal values."""
    for output in cell.get("outputs", []):
        text = "".join(output.get("data", {}).get("text/plain", ""))
        name, _, rest = text.partition("(")
        if name in NAMES and rest and (options := view_options(text)) is not None:
            return {"view": name, "options": options}
    return None


def stored_data(lm: LanguageModel, tuned: Path, notebooks: list[Notebook]) -> dict[str, Any]:
    """What views without a kernel need: packed blocks, the curve and samples of the run in `tuned`, the parameters of every notebook."""
    packed = pack(load_reviews("auto", REVIEWS).train, lm)
    run = read_run(tuned) if (tuned / "curve.jsonl").is_file() else None
    forms = {
        notebook.name: [
            {"name": one.name, "kind": one.kind, "default": str(one.default), "help": one.help, "optional": one.optional}
            for one in read_parameters(notebook).values()
        ]
        for notebook in notebooks
    }
    return {
        "blocks": stored_blocks(packed),
        "run": run and {"title": f"run {tuned.name}", "line": run.line, "rows": run.rows, "samples": run.samples,
                        "steps": int(run.plan.get("max_steps", 0))},
        "forms": forms,
    }  # fmt: skip
