"""A page inside a notebook: complete in a live notebook, only its name in stored outputs."""

import html
import re

from nbtools.report import PageView


def test_a_live_page_is_in_its_own_frame(tmp_path, monkeypatch):
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)
    (tmp_path / "index.html").write_text('<p class="x">It\'s "here" &amp; now</p>')
    data = PageView(tmp_path / "index.html")._repr_mimebundle_()
    [source] = re.findall('srcdoc="([^"]*)"', data["text/html"])
    assert html.unescape(source) == (tmp_path / "index.html").read_text()
    assert "sandbox=" in data["text/html"] and "index.html" in data["text/plain"]


def test_a_stored_page_is_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    (tmp_path / "index.html").write_text("<p>")
    assert list(PageView(tmp_path / "index.html")._repr_mimebundle_()) == ["text/plain"]
