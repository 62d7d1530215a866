"""The pages of the course: every notebook with its stored outputs and live views, the glossary, a front page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from nbtools.errors import InputError
from nbtools.models import LanguageModel, load_model
from nbtools.notebooks import Notebook, choose_notebooks
from nbtools.notebooks.addresses import open_links, read_repository
from nbtools.report.layout import FILTERS, FOLDER
from nbtools.report.markup import render_markdown
from nbtools.report.notebook_page import link_to_pages, neighbours, show_cell
from nbtools.site.front import LAB, table_rows, write_pictures
from nbtools.site.live import live_view, stored_data
from nbtools.site.search import BARE, sections
from nbtools.storage import atomic_folder, destination, resolve_path, write_text
from nbtools.storage.destinations import SITE
from nbtools.storage.json_files import read_object
from nbtools.templates import Templates
from nbtools.training import tuned_model
from nbtools.widgets.browser.scripts import page_script, register, view_styles
from nbtools.widgets.browser.weights import model_name, pack_model

# Scripts come from the pages' own folder alone, and nothing is sent anywhere; the worker is made from text, because a page that was opened
# from a disk may load no other. Styles stand in the pages too: outputs of notebooks bring them.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
)
HERE = Path(__file__).parent
TEMPLATES = Templates(HERE / "templates", FOLDER, **FILTERS)


def write_site(out: str | Path, model: str | Path | None = None) -> Path:
    """Write the pages into `out` and return the front page. An earlier site there is replaced once the new one is complete.

    model  the folder of a fine-tuning, or of a saved model of GPT-2's kind: it is what the views call the fine-tuned model, and gets a
           page of its own. None: that of runs/tuned/mini, or else a quick one

    Raises InputError where `out` holds something else, and what `pack_model` raises.
    """
    out = destination(out, SITE, "--out")
    base = load_model("mini", verbose=False)
    tuned = _load(resolve_path(model)) if model is not None else tuned_model(base)
    run = Path(tuned.name).parent if Path(tuned.name).name == "model" else Path(tuned.name)
    notebooks = choose_notebooks(())
    names, place = [notebook.name for notebook in notebooks], notebooks[0].path.parent
    repository = read_repository(place.parent)
    packed = {"base": pack_model(base, "mini"), "tuned": pack_model(tuned, model_name(run) if model else "mini, fine-tuned", base)}
    with atomic_folder(out, "site") as folder:
        live = folder / "live"
        for role, data in packed.items():
            write_text(live / f"{role}.js", register(role, data))
        stored = stored_data(base, run, notebooks)
        write_text(live / "data.js", register("data", stored))
        write_text(live / "search.js", register("search", {"sections": [one for notebook in notebooks for one in sections(notebook)]}))
        report_style = (FOLDER / "report.css").read_text(encoding="utf8")
        write_text(live / "course.js", page_script((HERE / "reading.js").read_text(encoding="utf8")))
        write_text(live / "course.css", "\n".join([report_style, *view_styles(), (HERE / "course.css").read_text(encoding="utf8")]))
        for notebook in notebooks:
            links = open_links(*repository, notebook.name)
            page = render_notebook(notebook, names, but=() if stored["run"] else ("TrainingMonitor",), links=links)
            write_text(folder / "notebooks" / f"{notebook.name}.html", page)
        glossary = place / "glossary.md"
        write_text(folder / "notebooks" / "glossary.html", render_glossary(glossary, names))
        pictures = write_pictures(notebooks, live)
        mine = {"name": packed["tuned"]["name"]} if model is not None else None
        if mine:
            write_text(folder / "model.html", _model_page(run, packed["tuned"]))
        front = {"rows": table_rows(notebooks), "pictures": pictures, "lab": LAB, "mine": mine, "links": open_links(*repository, names[0])}
        write_text(folder / "index.html", render("front.html", root="", millions=round(base.parameters / 1e6), **front))
    return out / "index.html"


def _load(folder: Path) -> LanguageModel:
    """The model of a fine-tuning or of a saved model."""
    for place in (folder / "model", folder):
        if (place / "config.json").is_file():
            return load_model(str(place), verbose=False)
    raise InputError(f"There is no model in {folder}.", "Give the folder of a fine-tuning, such as runs/tuned/mini.")


def render(template: str, /, **values: Any) -> str:
    """A page of the site; `root` leads to its front page."""
    return TEMPLATES.render(template, policy=Markup(POLICY), layout="course.html", **values)


def render_notebook(
    notebook: Notebook, names: Sequence[str], but: Sequence[str] = (), links: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The page of a notebook.

    names  notebooks that have a page in the same folder
    but    views that stay as they are stored
    links  addresses that open the notebook, by the name of the service
    """
    relink = link_to_pages(names, glossary=True)

    def live(cell: dict[str, Any]) -> dict[str, Any] | None:
        found = live_view(cell)
        return None if found and found["view"] in but else found

    cells = [shown for cell in notebook.cells if cell["id"] not in BARE and (shown := show_cell(_joined(cell), relink, live))]
    values = {"name": notebook.name, "title": notebook.title, "home": "The course", "links": links, **neighbours(notebook.name, names)}
    return render("course_notebook.html", root="../", cells=cells, **values)


def _joined(cell: dict[str, Any]) -> Any:
    """A cell as nbformat's reader gives it, with texts that are lists of lines joined."""
    from nbformat.v4 import to_notebook

    return to_notebook({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).cells[0]


def _model_page(run: Path, packed: dict[str, Any]) -> str:
    metrics = read_object(run / "metrics.json")
    before, after = (metrics.get(name, {}).get("test", {}) for name in ("before", "after"))
    measures = ("perplexity", "bits_per_byte")
    scores = [{"name": name.replace("_", " "), "before": before.get(name), "after": after.get(name)} for name in measures if name in after]
    lab = {**LAB, "model": "tuned", "prompt": "The movie was"}
    microscope = {"prompt": "The movie was", "seed": 0}
    values = {"name": packed["name"], "scores": scores, "lab": lab, "microscope": microscope, "same_tokens": bool(packed["plus"])}
    return render("model.html", root="", **values)


def render_glossary(path: Path, names: Sequence[str]) -> str:
    """The glossary as a page with a section for each word; `names` are the notebooks that have a page in the same folder."""
    relink = link_to_pages(names, glossary=True)
    intro, *entries = re.split(r"^### +(.+)$", path.read_text(encoding="utf8"), flags=re.MULTILINE)
    words = [
        {"anchor": word.strip().lower().replace(" ", "-"), "word": word, "text": render_markdown(text, relink)}
        for word, text in zip(entries[::2], entries[1::2], strict=True)
    ]
    return render("course_glossary.html", root="../", intro=render_markdown(intro, relink), words=words)
