"""Execute one notebook by nbclient alone, with the Python that runs this file: no papermill, and nothing of this repository on the path.

    python environments/execute.py NOTEBOOK OUTPUT '{"max_steps": 3}'

Ends with a JSON line: how many code cells ran, and how many live views stand in the outputs.
"""

import json
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CELL_SECONDS = 1_800
VIEW = "application/vnd.jupyter.widget-view+json"


def main(notebook: str, output: str, given: str) -> None:
    content, parameters = nbformat.read(notebook, as_version=4), json.loads(given)
    if parameters:
        [at] = [at for at, cell in enumerate(content.cells) if "parameters" in cell.metadata.get("tags", [])]
        content.cells.insert(at + 1, nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items())))
    place = {"metadata": {"path": str(Path(notebook).resolve().parent)}}
    client = NotebookClient(content, timeout=CELL_SECONDS, kernel_name="python3", resources=place)
    try:
        client.execute()
    finally:
        nbformat.write(content, output)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    views = sum(VIEW in shown.get("data", {}) for cell in cells for shown in cell.outputs)
    print(json.dumps({"cells": len(cells), "executed": sum(bool(cell.execution_count) for cell in cells), "views": views}))


if __name__ == "__main__":
    main(*sys.argv[1:])
