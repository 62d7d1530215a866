"""Which outputs of the notebooks are views, with which options, and the data that the pages store for them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from nbtools.data import load_reviews, pack
from nbtools.models import LanguageModel
from nbtools.notebooks import Notebook, read_parameters
from nbtools.site.scripts import VIEWS
from nbtools.training.run_state import read_run

NAMES = {view.__name__ for view in VIEWS}
POSITIONAL = {  # what the arguments without a name are
    "PromptLab": ("model", "prompt"),
    "AttentionExplorer": ("model", "text"),
    "Microscope": ("base", "tuned", "prompt"),
    "TokenInspector": ("model",),
    "TrainingMonitor": ("title",),
    "ParameterForm": ("notebook",),
}
BLOCKS, REVIEWS = 8, 60  # blocks of packed reviews that are stored, and the reviews that they are packed from
OFF = {"top_k": 0, "top_p": 1.0}


def live_view(cell: dict[str, Any]) -> dict[str, Any] | None:
    """The view that a cell displays and its options, from the view's plain text, which is a call with literal values."""
    for output in cell.get("outputs", []):
        text = "".join(output.get("data", {}).get("text/plain", ""))
        name, _, rest = text.partition("(")
        if name in NAMES and rest and (options := view_options(text)) is not None:
            return {"view": name, "options": options}
    return None


def view_options(text: str) -> dict[str, Any] | None:
    """The options of a view from its plain text, such as "PromptLab('mini', 'The movie was', temperature=0.7)".

    None for another text, such as the line of a view that could not be made.
    """
    try:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        options = dict(zip(POSITIONAL[call.func.id], map(ast.literal_eval, call.args), strict=True))
        options |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AssertionError, KeyError):
        return None
    if call.func.id == "ParameterForm":
        return {"notebook": options.pop("notebook"), "values": {name: str(value) for name, value in options.items()}}
    if "model" in options:
        options["model"] = "base" if options["model"] == "mini" else "tuned"
    return {name: OFF.get(name) if value is None else value for name, value in options.items()}


def stored_data(lm: LanguageModel, tuned: Path, notebooks: list[Notebook]) -> dict[str, Any]:
    """What views without a kernel need: packed blocks, the curve and samples of the run in `tuned`, the parameters of every notebook."""
    packed = pack(load_reviews("auto", REVIEWS).train, lm)
    count = min(BLOCKS, len(packed))
    names = {"ids": packed.input_ids, "positions": packed.position_ids, "documents": packed.document_ids}
    run = read_run(tuned) if (tuned / "curve.jsonl").is_file() else None
    forms = {
        notebook.name: [
            {"name": one.name, "kind": one.kind, "default": str(one.default), "help": one.help, "optional": one.optional}
            for one in read_parameters(notebook).values()
        ]
        for notebook in notebooks
    }
    return {
        "blocks": [{name: rows[index].tolist() for name, rows in names.items()} for index in range(count)],
        "run": run and {"title": f"run {tuned.name}", "line": run.line, "rows": run.rows, "samples": run.samples,
                        "steps": int(run.plan.get("max_steps", 0))},
        "forms": forms,
    }  # fmt: skip
