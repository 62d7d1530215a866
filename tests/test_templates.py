"""HTML from templates: values are escaped, missing values are an error, and templates are installed."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from nbtools.templates import Templates

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for path in ROOT.glob("nbtools/*/templates/*") if path.is_file())


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    (tmp_path / "word.html").write_text('<b title="{{ word }}">{{ word|twice }}</b>', encoding="utf8")
    return Templates(tmp_path, twice=lambda word: word + word)


def test_a_value_is_escaped_and_markup_is_not(templates: Templates) -> None:
    assert templates.render("word.html", word="<'\">") == '<b title="&lt;&#39;&#34;&gt;">&lt;&#39;&#34;&gt;&lt;&#39;&#34;&gt;</b>'
    assert templates.render("word.html", word=Markup("<i>")) == '<b title="<i>"><i><i></b>'
    assert isinstance(templates.render("word.html", word=""), Markup)


def test_a_missing_value_is_an_error(templates: Templates) -> None:
    with pytest.raises(jinja2.UndefinedError, match="word"):
        templates.render("word.html")


def test_no_template_marks_a_value_as_safe() -> None:
    assert len(FILES) > 8
    for file in FILES:
        text = file.read_text(encoding="utf8")
        assert "|safe" not in text.replace(" ", "") and "autoescape" not in text, file.name


def test_templates_are_installed_with_the_package() -> None:
    """The wheel holds everything in nbtools/ that git does not ignore."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == ["nbtools"] and not {"include", "exclude"} & {*build, *build["targets"]["wheel"]}
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    done = subprocess.run(["git", "check-ignore", *map(str, FILES)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == "", "git ignores templates"
