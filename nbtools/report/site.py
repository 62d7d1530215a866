"""The course as pages to read: every notebook with its stored outputs, the glossary, and an index. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbtools.exercises import EXERCISES
from nbtools.notebooks import Notebook, choose_notebooks, read_costs
from nbtools.report.layout import render_page
from nbtools.report.markup import render_markdown
from nbtools.report.notebook_page import link_to_pages, render_notebook
from nbtools.storage import atomic_folder, destination, write_text
from nbtools.storage.destinations import SITE


def write_site(out: str | Path) -> Path:
    """Write the pages into `out` and return its index. An earlier site there is replaced once the new one is complete.

    Raises InputError where `out` holds something else.
    """
    out = destination(out, SITE, "--out")
    notebooks = choose_notebooks(())
    names = [notebook.name for notebook in notebooks]
    glossary = notebooks[0].path.parent / "glossary.md"
    with atomic_folder(out, "site") as folder:
        for notebook in notebooks:
            page = render_notebook(notebook.path, notebook.title, names, "The course", glossary=True)
            write_text(folder / "notebooks" / f"{notebook.name}.html", page)
        write_text(folder / "notebooks" / "glossary.html", render_glossary(glossary, names))
        write_text(folder / "index.html", render_page("site.html", rows=_rows(notebooks)))
    return out / "index.html"


def _rows(notebooks: Sequence[Notebook]) -> list[dict[str, Any]]:
    """Name, title, number of exercises and minutes of each notebook; None where the minutes were not measured."""
    costs = read_costs()
    return [
        {
            "name": notebook.name,
            "title": notebook.title,
            "exercises": sum(exercise.startswith(notebook.name[:2]) for exercise in EXERCISES),
            "minutes": costs[notebook.name]["seconds"] / 60 if notebook.name in costs else None,
        }
        for notebook in notebooks
    ]


def render_glossary(path: Path, names: Sequence[str]) -> str:
    """The glossary as a page with a section for each word; `names` are the notebooks that have a page in the same folder."""
    relink = link_to_pages(names, glossary=True)
    intro, *entries = re.split(r"^### +(.+)$", path.read_text(encoding="utf8"), flags=re.MULTILINE)
    words = [
        {"anchor": word.strip().lower().replace(" ", "-"), "word": word, "text": render_markdown(text, relink)}
        for word, text in zip(entries[::2], entries[1::2], strict=True)
    ]
    return render_page("glossary.html", intro=render_markdown(intro, relink), words=words)
