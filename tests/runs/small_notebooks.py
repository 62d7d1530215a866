"""Tiny notebooks, written to disk for tests."""

from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SLEEPS = "import time\nprint('asleep', flush=True)\nfor _ in range(600):\n    time.sleep(0.5)"


def write_notebook(
    folder: Path, name: str, *sources: str, parameters: str | None = None, title: str = "A notebook", tags: dict[int, str] | None = None
) -> Path:
    """A notebook with a heading, a `parameters` cell where one is given, and one code cell for each source, `tags` by its number."""
    cells = [new_markdown_cell(f"# {title}", id="title")]
    if parameters is not None:
        cells.append(new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}))
    for number, source in enumerate(sources):
        metadata = {"tags": [tags[number]]} if tags and number in tags else {}
        cells.append(new_code_cell(source, id=f"cell-{number}", metadata=metadata))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def printed(path: Path) -> str:
    """All text that the cells of an executed notebook printed."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def processes_with(mark: str) -> list[psutil.Process]:
    """The live processes whose environment holds the text `mark`: a child and all that it started, whoever their parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != psutil.Process().pid and any(mark in value for value in process.environ().values()):
                found.append(process)
        except psutil.Error:
            continue
    return found
