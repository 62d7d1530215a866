"""The options of a view from its plain text, which is a call with literal values."""

from __future__ import annotations

import ast
from typing import Any

POSITIONAL = {  # what the arguments without a name are
    "PromptLab": ("model", "prompt"),
    "AttentionExplorer": ("model", "text"),
    "Microscope": ("base", "tuned", "prompt"),
    "TokenInspector": ("model",),
    "TrainingMonitor": ("title",),
    "ParameterForm": ("notebook",),
}
OFF = {"top_k": 0, "top_p": 1.0}  # what None stands for


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
