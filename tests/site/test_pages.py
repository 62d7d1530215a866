"""The course as pages: from stored outputs, with valid links, and with no script and no request but those of the pages' own folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.models import save_model
from nbtools.notebooks import choose_notebooks
from nbtools.notebooks.addresses import open_links, read_repository
from nbtools.site import write_site
from nbtools.site.pages import render_notebook
from tests.small_models import tiny

pytestmark = pytest.mark.xdist_group("site-static")  # they share one folder of pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return save_model(tiny(seed=1), tmp_path_factory.mktemp("model") / "mine")


@pytest.fixture(scope="module")
def site(tuned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pages"
    command = [sys.executable, "-m", "nbtools.cli", "site", "--out", str(folder), "--model", str(tuned)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_notebook_has_its_page_and_every_link_is_valid(site):
    names = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in (site / "notebooks").glob("*.html")} == names | {"glossary"}
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text()):
            name, _, anchor = target.partition("#")
            if not re.match(r"[a-z]+:", target):
                linked = (page.parent / name) if name else page
                assert linked.is_file(), (page.name, target)
                assert not anchor or f'id="{anchor}"' in linked.read_text(), (page.name, target)


def test_there_is_one_script_and_no_request_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert re.findall(r"<script[^>]*>", text) == [f'<script src="{"../" * (page.parent != site)}live/course.js" defer>']
        assert "script-src 'self' 'wasm-unsafe-eval'; worker-src blob:" in text
        assert not re.search(r'(src|srcset)="https?:', text) and "@import" not in text
        assert not re.findall(r"<img(?![^>]*\balt=)[^>]*>", text)


def test_everything_fits_on_a_small_page(site):
    """With mini's weights twice: 40 MB in all is the limit, and this site's own model is tiny."""
    files = {file: file.stat().st_size for file in site.rglob("*") if file.is_file()}
    assert sum(files.values()) < 28e6 and files[site / "live" / "base.js"] < 23e6


def test_views_are_live_where_the_notebooks_show_them(site):
    views = {
        name: re.findall(r'data-view="(\w+)"', (site / "notebooks" / f"{name}.html").read_text())
        for name in ("02_loading", "03_generation")
    }
    assert "AttentionExplorer" in views["02_loading"] and "PromptLab" in views["03_generation"]


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no model in"):
        write_site(tmp_path / "pages", tmp_path / "nothing")
    assert not (tmp_path / "pages").exists()


def test_formulas_are_drawn(site):
    assert (site / "notebooks" / "01_attention.html").read_text().count("<math") > 10


@pytest.mark.slow(6)
def test_another_folder_is_refused_and_an_earlier_site_replaced(site, tuned, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(InputError, match="is not a site of the course"):
        write_site(tmp_path / "other")
    (site / "index.html").write_text("old")
    write_site(site, tuned)
    assert "From attention" in (site / "index.html").read_text()


def test_the_glossary_is_in_order_and_every_link_to_it_leads_to_a_word():
    text = (ROOT / "notebooks" / "glossary.md").read_text()
    words = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert words == sorted(words) and all(word == word.lower() for word in words)
    anchors = {word.replace(" ", "-") for word in words}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for anchor in re.findall(r"\(glossary\.md#([\w-]+)\)", path.read_text()):
            assert anchor in anchors, (path.name, anchor)


def test_pages_link_to_colab_and_binder_once_there_is_an_address(tmp_path):
    [notebook] = choose_notebooks(["04"])
    assert read_repository(tmp_path) == ("", "") and "Binder" not in render_notebook(notebook, [notebook.name])
    (tmp_path / "pyproject.toml").write_text('[tool.course]\nrepository = "https://github.com/Somebody/course"\nbranch = "main"\n')
    links = open_links(*read_repository(tmp_path), notebook.name)
    page = render_notebook(notebook, [notebook.name], links=links)
    assert '<a href="https://colab.research.google.com/github/Somebody/course/blob/main/notebooks/04_finetuning.ipynb">Colab</a>' in page
    assert '<a href="https://mybinder.org/v2/gh/Somebody/course/main?urlpath=lab/tree/notebooks/04_finetuning.ipynb">Binder</a>' in page
