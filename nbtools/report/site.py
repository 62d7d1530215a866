"""The course as pages to read: every notebook with its stored outputs, the glossary, and an index. Nothing is run."""

from __future__ import annotations

import re
from pathlib import Path

from nbtools.exercises import EXERCISES
from nbtools.notebooks import Notebook, choose_notebooks, read_costs
from nbtools.report.layout import wrap_page
from nbtools.report.markup import escape, keep_link, render_markdown
from nbtools.report.notebook_page import render_notebook
from nbtools.runtime import destination, put_in_place, write_text
from nbtools.runtime.destinations import SITE


def write_site(out: str | Path) -> Path:
    """Write the pages into `out` and return its index. An earlier site there is replaced once the new one is whole.

    Raises InputError where `out` holds something else.
    """
    out = destination(out, SITE, "--out")
    notebooks = choose_notebooks(())
    names = [notebook.name for notebook in notebooks]
    glossary = notebooks[0].path.parent / "glossary.md"
    with put_in_place(out, "site") as aside:
        for notebook in notebooks:
            page = render_notebook(notebook.path, notebook.title, names, "The course", glossary=True)
            write_text(aside / "notebooks" / f"{notebook.name}.html", page)
        write_text(aside / "notebooks" / "glossary.html", render_glossary(glossary))
        write_text(aside / "index.html", _index(notebooks))
    return out / "index.html"


def _index(notebooks: list[Notebook]) -> str:
    costs = read_costs()
    rows = ""
    for notebook in notebooks:
        count = sum(one.startswith(notebook.name[:2]) for one in EXERCISES)
        minutes = f"{costs[notebook.name]['seconds'] / 60:.1f}" if notebook.name in costs else "–"
        rows += (
            f'<tr><th scope="row"><a href="notebooks/{escape(notebook.name)}.html">{escape(notebook.title)}</a></th>'
            f"<td>{count}</td><td>{minutes}</td></tr>"
        )
    head = '<tr><th scope="col">Notebook</th><th scope="col">Exercises</th><th scope="col">Minutes to run</th></tr>'
    body = (
        "<header><h1>From attention to fine-tuning</h1><p>The course to read, with the outputs of one run. To run it yourself, open the "
        "notebooks "
        'from a clone.</p></header><section><table class="numbers"><thead>' + head + "</thead><tbody>" + rows + "</tbody></table>"
        '<p><a href="notebooks/glossary.html">Glossary</a></p></section>'
    )
    return wrap_page("From attention to fine-tuning", f"<main>{body}</main>")


def render_glossary(path: Path) -> str:
    """The glossary as a page: a section with an anchor for each word."""
    intro, *entries = re.split(r"^### +(.+)$", path.read_text(encoding="utf8"), flags=re.MULTILINE)
    parts = [render_markdown(intro, _relink)]
    for word, text in zip(entries[::2], entries[1::2], strict=True):
        anchor = word.strip().lower().replace(" ", "-")
        parts.append(f'<section id="{escape(anchor)}"><h3>{escape(word)}</h3>{render_markdown(text, _relink)}</section>')
    back = '<nav aria-label="Pages"><a href="../index.html">The course</a></nav>'
    return wrap_page("Glossary", f'{back}<main class="notebook"><section class="text">{"".join(parts)}</section></main>')


def _relink(target: str) -> str | None:
    name, _, anchor = target.partition("#")
    if name.endswith(".ipynb"):
        return f"{Path(name).stem}.html" + (f"#{anchor}" if anchor else "")
    return keep_link(target)
