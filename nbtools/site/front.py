"""What the front page shows of the notebooks: a line for each, and pictures from their stored outputs."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbtools.exercises import EXERCISES
from nbtools.notebooks import Notebook, read_costs
from nbtools.site.search import plain

LAB: dict[str, Any] = {
    "prompt": "The old house at the end of the road",
    "temperature": 0.7,
    "top_k": 50,
    "top_p": 0.95,
    "max_new_tokens": 40,
}
# Stored pictures that the front page shows, by notebook and cell.
PICTURES = (("04_finetuning", "curve"), ("05_sampling", "likelier"), ("01_attention", "heads-figure"), ("06_pitfalls", "picture"))


def table_rows(notebooks: Sequence[Notebook]) -> list[dict[str, Any]]:
    """Name, title, first sentence, number of exercises and minutes of each notebook; None where the minutes were not measured."""
    costs = read_costs()
    return [
        {
            "name": notebook.name,
            "title": notebook.title,
            "about": _first_sentence(notebook),
            "exercises": sum(exercise.startswith(notebook.name[:2]) for exercise in EXERCISES),
            "minutes": costs[notebook.name]["seconds"] / 60 if notebook.name in costs else None,
        }
        for notebook in notebooks
    ]


def _first_sentence(notebook: Notebook) -> str:
    paragraphs = [part for part in notebook.cells[0]["source"].split("\n\n") if not part.startswith(("#", ">"))]
    return re.split(r"(?<=[.?!]) ", plain(paragraphs[0]))[0] if paragraphs else ""


def write_pictures(notebooks: Sequence[Notebook], live: Path) -> list[dict[str, str]]:
    """Pictures for the front page, from the notebooks' stored outputs."""
    cells = {(notebook.name, cell["id"]): cell for notebook in notebooks for cell in notebook.cells}
    found = []
    for name, cell in PICTURES:
        for output in cells.get((name, cell), {}).get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                file = f"{name}-{cell}.png"
                (live / file).write_bytes(base64.b64decode("".join(png)))
                about = "".join(output["data"].get("text/plain", "")).strip("[]").removeprefix("picture: ")
                found.append({"file": file, "page": f"{name}.html#{cell}", "about": about})
    return found
