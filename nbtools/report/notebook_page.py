"""An executed notebook as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nbtools.notebooks.content import join_lines, read_content
from nbtools.report.layout import wrap_page
from nbtools.report.markup import clean_html, escape, highlight, keep_link, render_markdown

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def render_notebook(path: Path, title: str, others: list[str], home: str = "The run", glossary: bool = False) -> str:
    """The page for the executed notebook at `path`.

    others  names of the notebooks that have a page in the same folder, this one included, in order: links to them work, and
            the first line leads to the neighbours, and to ../index.html, which is called `home`
    glossary  whether there is a page glossary.html beside it
    """
    content = read_content(path)

    def relink(target: str) -> str | None:
        name, _, anchor = unquote(target).partition("#")
        if name.endswith(".ipynb"):
            stem = Path(name).stem
            return f"{stem}.html" + (f"#{anchor}" if anchor else "") if stem in others else None
        if name == "glossary.md":
            return f"glossary.html#{anchor}" if glossary else None
        return keep_link(target)

    cells = [_render_cell(cell, relink) for cell in content["cells"]]
    return wrap_page(
        title, _navigation(path.stem.removesuffix(".failed"), others, home) + '<main class="notebook">' + "\n".join(cells) + "</main>"
    )


def _navigation(name: str, others: list[str], home: str) -> str:
    links = [f'<a href="../index.html">{escape(home)}</a>']
    place = others.index(name) if name in others else -1
    if place > 0:
        links.append(f'<a rel="prev" href="{escape(others[place - 1])}.html">← {escape(others[place - 1])}</a>')
    if 0 <= place < len(others) - 1:
        links.append(f'<a rel="next" href="{escape(others[place + 1])}.html">{escape(others[place + 1])} →</a>')
    return f'<nav aria-label="Notebooks">{" ".join(links)}</nav>'


def _render_cell(cell: dict[str, Any], relink: Any) -> str:
    source = "".join(cell["source"])
    tags = cell.get("metadata", {}).get("tags", [])
    if cell["cell_type"] == "markdown":
        if "papermill-error-cell-tag" in tags:
            return '<p class="failed">The run stopped at the next cell.</p>' if "id=" in source else ""
        return f'<section class="text">{render_markdown(_put_attachments(source, cell), relink)}</section>'
    if cell["cell_type"] != "code" or not source.strip():
        return ""
    label = "Parameters given for this run" if "injected-parameters" in tags else f"[{cell.get('execution_count') or ' '}]"
    outputs = "".join(_render_output(output) for output in _join_streams(cell.get("outputs", [])))
    shown = f'<div class="outputs">{outputs}</div>' if outputs else ""
    code = f'<pre class="source" tabindex="0"><code>{highlight(source)}</code></pre>'
    return f'<section class="code"><div class="count">{escape(label)}</div>{code}{shown}</section>'


def _join_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of one stream in a row as one piece: where they were cut is a matter of timing."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if joined and output["output_type"] == "stream" == joined[-1]["output_type"] and output["name"] == joined[-1]["name"]:
            joined[-1] = {**output, "text": "".join(joined[-1]["text"]) + "".join(output["text"])}
        else:
            joined.append(output)
    return joined


def _render_output(output: dict[str, Any]) -> str:
    kind = output["output_type"]
    if kind == "stream":
        return _text("".join(output["text"]), "stderr" if output["name"] == "stderr" else "stdout")
    if kind == "error":
        return _text("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}", "error")
    data = {mime: join_lines(value) for mime, value in output.get("data", {}).items()}
    words = data.get("text/plain", "")
    for mime in PICTURES:
        if mime in data:
            about = output.get("metadata", {}).get(mime, {})
            alt = about.get("alt", words) if isinstance(about, dict) else words
            coded = escape("".join(data[mime].split()))
            return f'<img src="data:{mime};base64,{coded}" alt="{escape(alt)}">'
    if "image/svg+xml" in data:  # as a picture: what is inside an <img> runs no script
        coded = base64.b64encode(data["image/svg+xml"].encode("utf8")).decode("ascii")
        return f'<img src="data:image/svg+xml;base64,{coded}" alt="{escape(words)}">'
    if "text/html" in data:
        return f'<div class="html" tabindex="0">{clean_html(data["text/html"])}</div>'
    if "text/markdown" in data:
        return render_markdown(data["text/markdown"])
    return _text(words, "result") if words else ""


def _text(text: str, kind: str) -> str:
    return f'<pre class="output {kind}" tabindex="0">{escape(ESCAPES.sub("", text))}</pre>'


def _put_attachments(source: str, cell: dict[str, Any]) -> str:
    for name, forms in cell.get("attachments", {}).items():
        for mime, value in forms.items():
            if mime in PICTURES:
                source = source.replace(f"attachment:{name}", f"data:{mime};base64,{join_lines(value)}")
    return source
