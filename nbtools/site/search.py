"""The pages' search: sections of the notebooks as plain text, in one script that the browser looks through."""

from __future__ import annotations

import re

from nbtools.notebooks import Notebook

BARE = {"install"}  # cells that a reader of pages has no use for


def plain(markdown: str) -> str:
    """The words of Markdown: without markup, tags and the targets of links."""
    text = re.sub(r"<[^>]+>|^#+ |^>|```\w*|[*`]", " ", re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", markdown), flags=re.MULTILINE)
    return " ".join(text.split())


def sections(notebook: Notebook) -> list[dict[str, str]]:
    """What the search looks through: for each heading its text up to the next one, and where it stands."""
    found: list[dict[str, str]] = []
    for cell in notebook.cells:
        if cell["cell_type"] == "markdown":
            heading = re.search(r"^(?:#+ +(.+)|\*\*(Exercise .+?)\*\*)$|^\*\*(Exercise [^*]+)\*\*", cell["source"], re.MULTILINE)
            if heading or not found:
                words = next((group for group in heading.groups() if group), "") if heading else notebook.title
                found.append(
                    {"title": notebook.title, "heading": plain(words), "text": "", "page": f"notebooks/{notebook.name}.html#{cell['id']}"}
                )
            found[-1]["text"] += f" {plain(cell['source'])}"
        elif found and cell["id"] not in BARE:
            found[-1]["text"] += f" {cell['source']}"
    return found
