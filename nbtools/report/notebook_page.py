"""An executed notebook as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nbtools.notebooks.content import as_node, read_content
from nbtools.report.layout import render_page
from nbtools.report.markup import Relink, clean_html, highlight, keep_link, render_markdown

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def render_notebook(path: Path, title: str, others: Sequence[str], home: str = "The run", glossary: bool = False) -> str:
    """The page for the executed notebook at `path`.

    others    names of the notebooks that have a page in the same folder, this one included, in order: links to them work, and the
              first line leads to the previous and the next one
    home      what ../index.html is called in the first line
    glossary  whether there is a page glossary.html in the same folder
    """
    relink = link_to_pages(others, glossary)
    cells = [shown for cell in as_node(read_content(path)).cells if (shown := show_cell(cell, relink))]
    return render_page("notebook.html", title=title, home=home, cells=cells, **neighbours(path.stem.removesuffix(".failed"), others))


def neighbours(name: str, others: Sequence[str]) -> dict[str, str]:
    """The names of the notebooks before and after one, "" where there is none."""
    index = others.index(name) if name in others else len(others)
    return {
        "previous": others[index - 1] if 0 < index < len(others) else "",
        "next": others[index + 1] if index + 1 < len(others) else "",
    }


def link_to_pages(names: Sequence[str], glossary: bool) -> Relink:
    """Sends links to notebooks and to the glossary to their pages in the same folder, where there is one."""

    def relink(target: str) -> str | None:
        name, hash_sign, anchor = unquote(target).partition("#")
        if name.endswith(".ipynb"):
            stem = Path(name).stem
            return f"{stem}.html{hash_sign}{anchor}" if stem in names else None
        if name == "glossary.md":
            return f"glossary.html{hash_sign}{anchor}" if glossary else None
        return keep_link(target)

    return relink


def show_cell(cell: dict[str, Any], relink: Relink, live: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None) -> Any:
    """What the template shows of a cell: `kind` and its content; None for an empty one.

    live  finds the view that a cell displays, and its options, where pages have live views
    """
    place = {"id": cell.get("id", "") if live else "", "live": live(cell) if live else None}
    source, tags = cell["source"], cell["metadata"].get("tags", [])
    if cell["cell_type"] == "markdown":
        if "papermill-error-cell-tag" in tags:
            return {"kind": "stopped"} if "id=" in source else None
        for name, forms in cell.get("attachments", {}).items():
            for mime, value in forms.items():
                if mime in PICTURES:
                    source = source.replace(f"attachment:{name}", f"data:{mime};base64,{value}")
        return {"kind": "text", "body": render_markdown(source, relink), **place}
    if cell["cell_type"] != "code" or not source.strip():
        return None
    label = "Parameters given for this run" if "injected-parameters" in tags else f"[{cell.get('execution_count') or ' '}]"
    outputs = [shown for output in _join_streams(cell.get("outputs", [])) if (shown := _output(output))]
    return {"kind": "code", "label": label, "source": highlight(source), "outputs": outputs, **place}


def _join_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Consecutive pieces of one stream as one piece: where they were cut is a matter of timing."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if joined and output["output_type"] == "stream" == joined[-1]["output_type"] and output["name"] == joined[-1]["name"]:
            joined[-1] = {**output, "text": joined[-1]["text"] + output["text"]}
        else:
            joined.append(output)
    return joined


def _output(output: dict[str, Any]) -> dict[str, Any] | None:
    """What the template shows of an output: `kind` and its content; None for an empty one."""
    kind = output["output_type"]
    if kind == "stream":
        return _text(output["text"], "stderr" if output["name"] == "stderr" else "stdout")
    if kind == "error":
        return _text("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}", "error")
    data, words = output["data"], output["data"].get("text/plain", "")
    for mime in PICTURES:
        if mime in data:
            about = output["metadata"].get(mime, {})
            alt = about.get("alt", words) if isinstance(about, dict) else words
            return {"kind": "picture", "address": f"data:{mime};base64,{''.join(data[mime].split())}", "alt": alt}
    if "image/svg+xml" in data:  # as a picture: what is inside an <img> runs no script
        coded = base64.b64encode(data["image/svg+xml"].encode("utf8")).decode("ascii")
        return {"kind": "picture", "address": f"data:image/svg+xml;base64,{coded}", "alt": words}
    if "text/html" in data:
        return {"kind": "html", "body": clean_html(data["text/html"])}
    if "text/markdown" in data:
        return {"kind": "markdown", "body": render_markdown(data["text/markdown"])}
    return _text(words, "result") if words else None


def _text(text: str, stream: str) -> dict[str, Any]:
    return {"kind": "output", "stream": stream, "text": ESCAPES.sub("", text)}
