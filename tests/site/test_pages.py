"""The course as web pages: from stored outputs, without scripts or network, with valid links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.site import write_site

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pages"
    command = [sys.executable, "-m", "nbtools.cli", "site", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_notebook_has_its_page_and_every_link_is_valid(site):
    names = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in (site / "notebooks").glob("*.html")} == names | {"glossary"}
    for page in site.rglob("*.html"):
        for target in re.findall(r'href="([^"]+)"', page.read_text()):
            name, _, anchor = target.partition("#")
            if not re.match(r"[a-z]+:", target):
                linked = (page.parent / name) if name else page
                assert linked.is_file(), (page.name, target)
                assert not anchor or f'id="{anchor}"' in linked.read_text(), (page.name, target)


def test_there_are_no_requests_and_no_scripts(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert "<script" not in text and not re.search(r'(src|srcset)="https?:', text) and "@import" not in text
        assert not re.findall(r"<img(?![^>]*\balt=)[^>]*>", text)


def test_formulas_are_drawn(site):
    assert (site / "notebooks" / "01_attention.html").read_text().count("<math") > 10


@pytest.mark.slow(6)
def test_another_folder_is_refused_and_an_earlier_site_replaced(site, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(InputError, match="is not a site of the course"):
        write_site(tmp_path / "other")
    (site / "index.html").write_text("old")
    write_site(site)
    assert "From attention" in (site / "index.html").read_text()


def test_the_glossary_is_in_order_and_every_link_to_it_leads_to_a_word():
    text = (ROOT / "notebooks" / "glossary.md").read_text()
    words = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert words == sorted(words) and all(word == word.lower() for word in words)
    anchors = {word.replace(" ", "-") for word in words}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for anchor in re.findall(r"\(glossary\.md#([\w-]+)\)", path.read_text()):
            assert anchor in anchors, (path.name, anchor)
