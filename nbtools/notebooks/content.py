"""Read and validate notebook files, with defaults for fields that other programs leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Is, JsonError, Maybe, Whole, fit

TEXT = (str, [str])  # a multi-line text, as one string or as a list of lines
METADATA = Maybe({"tags": Maybe([str]), "papermill": Maybe(dict)}, {})
CELL = {"cell_type": str, "source": Maybe(TEXT, ""), "metadata": METADATA, "id": Maybe(str), "attachments": Maybe({str: {str: object}})}
ABOUT = Maybe({"kernelspec": Maybe(dict), "language_info": Maybe(dict), "papermill": Maybe(dict)}, {})
SHAPE = {"nbformat": int, "nbformat_minor": Maybe(Whole(0, 99), 4), "metadata": ABOUT, "cells": [CELL]}
BUNDLE = {"data": Maybe({str: object}, {}), "metadata": Maybe(dict, {})}
OUTPUTS = {
    "stream": {"name": Maybe(str, "stdout"), "text": Maybe(TEXT, "")},
    "error": {"ename": Maybe(str, ""), "evalue": Maybe(str, ""), "traceback": Maybe([str], [])},
    "display_data": BUNDLE,
    "execute_result": BUNDLE | {"execution_count": Maybe(int, None)},
}
CODE = {"execution_count": Maybe(int, None), "outputs": Maybe([{"output_type": Is(*OUTPUTS)}], [])}
REMEDY = "Name a file that Jupyter has saved."


def read_content(path: str | Path) -> dict[str, Any]:
    """Read a notebook of format 4, with missing optional fields filled in. Sources stay strings or lists of lines.

    Raises InputError for everything else.
    """
    if not Path(path).exists():
        raise InputError(f"There is no notebook {path}.", "Check the path; `nbtools run --list` shows the course's notebooks.")
    content = read_json(path, dict, REMEDY)
    if content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        raise InputError(f"{path} is not a notebook of format 4.", "Open it in JupyterLab and save it once.")
    try:
        content = fit(content, SHAPE)
        for number, cell in enumerate(content["cells"]):
            where = f"cells[{number}]"
            if cell["cell_type"] == "code":
                cell.update(fit(cell, CODE, where))
                cell["outputs"] = [_output(output, f"{where}.outputs[{index}]") for index, output in enumerate(cell["outputs"])]
    except JsonError as error:
        raise InputError(f"{path} cannot be read as a notebook: it {error}.", REMEDY) from None
    return dict(content)


def _output(output: dict[str, Any], where: str) -> dict[str, Any]:
    fitted: dict[str, Any] = fit(output, OUTPUTS[output["output_type"]], where)
    for mime, value in fitted.get("data", {}).items():
        if mime.startswith(("text/", "image/")):  # others may be any JSON
            fit(value, TEXT, f"{where}.data.{mime}")
    return fitted


def join_lines(value: Any) -> Any:
    """Join a list of lines to one text; return any other value unchanged."""
    return "".join(value) if isinstance(value, list) and all(isinstance(line, str) for line in value) else value


def as_node(content: dict[str, Any]) -> Any:
    """Convert the content to a NotebookNode with joined lines, for libraries that use nbformat."""
    from nbformat.v4 import to_notebook

    return to_notebook(content)
