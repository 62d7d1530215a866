"""Hostile text in tokens, prompts, reviews, names and figures is shown as text: in pages, tables, live views and the terminal."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import nbtools
from nbtools.errors import CONTROLS, CourseError, RunError, printable
from nbtools.report import write_run_page
from nbtools.report.markup import clean_html, render_formula, render_markdown
from nbtools.report.notebook_page import render_notebook
from nbtools.tokens import visible
from tests.security.hostile import ALL, TEXTS, active_parts, controls
from tests.small_models import mini

WIDGETS = Path(nbtools.__file__).parent / "widgets"


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_html_and_every_kind_of_output_show_hostile_text_as_text(text: str, tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": text},
        {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": text, "text/plain": text}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/plain": text}},
        {"output_type": "display_data", "metadata": {"image/png": {"alt": text}}, "data": {"image/png": text, "text/plain": text}},
        {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": text, "text/plain": text}},
    ]
    cells = [
        {"cell_type": "markdown", "source": text, "metadata": {}},
        {"cell_type": "markdown", "source": f"# {text}\n\n```{text}\n{text}\n```\n\n| a |\n|---|\n| {text} |", "metadata": {}},
        {"cell_type": "code", "source": text, "metadata": {}, "execution_count": 1, "outputs": outputs},
    ]
    path = tmp_path / "hostile.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf8")
    page = render_notebook(path, text, [text], text)
    assert active_parts(page) == []
    assert active_parts("<script>x</script><b onclick=x>") == ["<script>", "b onclick=x"], "the test itself sees what it looks for"


FORMULAS = [r"\text{<script>alert(1)</script>}", r"\textcolor{\"><script>alert(1)</script>}{x}", r"\mathrm{<svg/onload=alert(1)>}",
            r"\href{javascript:alert(1)}{x}", r"\style{background:url(http://evil.example)}{x}", r"\class{x}{y}", r"a < b"]  # fmt: skip


@pytest.mark.parametrize("tex", FORMULAS)
def test_text_inside_a_formula_cannot_become_a_tag(tex: str) -> None:
    """The converter undoes the escaping of its whole result, so that \\text{<script>} was a script."""
    drawn = render_formula(tex)
    assert active_parts(drawn) == [] and "href=" not in drawn and "style=" not in drawn and "class=" not in drawn
    assert drawn.startswith("<math")


def test_a_text_cannot_spell_the_mark_of_a_finished_piece() -> None:
    """Such a mark, written as an entity in an attribute, had a formula put there, whose quotation marks closed the attribute."""
    text = '$onmouseover=alert(1)//$\n\n<a title="&#xe000;0&#xe001;">x</a> &#xe000;7&#xe001;'
    page = render_markdown(text)
    assert active_parts(page) == [] and page.count("<math") == 1


@pytest.mark.parametrize(
    "style",
    ["background:url(http://evil.example/x)", "background-image:image-set('http://evil.example/x' 1x)",
     "background:u/**/rl(//evil.example)",
     "background-image:-webkit-image-set('//evil.example' 1x)", "position:fixed; top:0", "background:\\75rl(//evil.example)",
     "background-image:cross-fade('//evil.example', red)"],
)  # fmt: skip
def test_no_style_of_an_output_fetches_anything(style: str) -> None:
    assert clean_html(f'<b style="{style}">x</b>') == "<b>x</b>"


OUTPUTS = [
    "<meta http-equiv=refresh content='0;url=http://evil.example'>x",
    "<base href=//evil.example>x",
    "<link rel=stylesheet href=//evil.example>x",
    "<style>@import '//evil.example'; main { display: none }</style>x",
    "<form action=//evil.example><input name=q><button formaction=//evil.example>x</button><select><option>y</select></form>",
    "<video src=//evil.example poster=//evil.example></video><audio src=//evil.example></audio>x",
    "<object data=//evil.example></object><embed src=//evil.example>x",
    "<svg><style>@import '//evil.example'</style><a xlink:href='javascript:alert(1)'>y</a></svg>x",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'></table></mtext></math>x",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'></svg>x",
    "x<noscript><p title='</noscript><img src=1 onerror=alert(1)>'>",
    "<a href='&#106;avascript:alert(1)'>x</a><a href='java\tscript:alert(1)'>y</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a><a href=//evil.example ping=//evil.example target=_top>y</a>",
    "<img src=//evil.example srcset='//evil.example 2x' alt=x>x",
    "<table background=//evil.example><tr><td background=//evil.example>x</table>",
    "<details ontoggle=alert(1) open>x</details>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe><div id=main class=failed name=y>x</div>",
    "<blockquote cite=//evil.example>x</blockquote><q cite=//evil.example>y</q><del cite=//evil.example>z</del>",
    "<b style='--x:url(//evil.example);background:var(--x);position:absolute;inset:0;margin:-99em;z-index:9'>x</b>",
    "<b style='behavior:url(//evil.example);color:expression(alert(1))'>x</b>",
    "<b style='list-style:url(//evil.example);cursor:url(//evil.example),auto'>x</b>",
]


@pytest.mark.parametrize("output", OUTPUTS)
def test_of_a_hostile_output_only_tags_and_attributes_that_show_something_are_left(output: str) -> None:
    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            left.append((tag, dict(attrs)))

    left: list[tuple[str, dict[str, str | None]]] = []
    shown = clean_html(output)
    Reader().feed(shown)
    assert "x" in shown and active_parts(shown) == []
    assert {tag for tag, _ in left} <= {"a", "b", "blockquote", "del", "details", "div", "img", "p", "q", "table", "tbody", "td", "tr"}
    for _, attributes in left:
        assert attributes.keys() <= {"alt", "open", "rel", "title"}


def hostile_metrics(name: str) -> dict[str, Any]:
    score = {part: {"perplexity": 9.0, "bits_per_byte": 1.0, "reviews": ALL} for part in ("test", "validation")}
    tuned = {
        "kind": "finetune", "profile": ALL, "model": ALL, "source": ALL, "tokens_seen": 3, "seconds": 1.0, "before": score, "after": score,
        "curve": [{"step": 1, "loss": 3.0, "learning_rate": ALL}, {"step": 2, "loss": 2.0, "tokens": ALL}],
        "samples": [{"prompt": ALL, "before": ALL, "after": ALL, "decoding": ALL, "seed": ALL}],
        "choices": {"dtype": ALL, "dtype_reason": ALL}, "data": {ALL: ALL}, "parameters": {ALL: ALL},
    }  # fmt: skip
    entry = {"state": "failed", "title": ALL, "parameters": {ALL: ALL}, "failure": {"reason": ALL, "cell": 3, "lines": [ALL]}}
    return {
        "schema": 1, "kind": "run", "created": ALL, "state": "failed", "command": [ALL], "nbtools": ALL, "versions": {ALL: ALL},
        "machine": {"processor": ALL, "cores": ALL, "system": ALL, "python": ALL}, "memory_method": ALL, "notebooks": {name: entry},
        "finetune": tuned,
    }  # fmt: skip


def test_the_page_of_a_run_whose_every_figure_is_hostile(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(hostile_metrics("01_x")), encoding="utf8")
    page = write_run_page(tmp_path).read_text(encoding="utf8")
    assert active_parts(page) == [] and "&lt;script&gt;" in page
    assert "default-src 'none'" in page, "the second lock: a policy that lets nothing run or be fetched"


@pytest.mark.parametrize("name", ["../../evil", "..", "a/b", "a\\b", "/evil"])
def test_the_page_of_a_run_is_written_nowhere_else(name: str, tmp_path: Path) -> None:
    """A run's folder may come from somebody else, and the names in its metrics.json became paths."""
    inside = tmp_path / "a" / "run"
    inside.mkdir(parents=True)
    (inside / "metrics.json").write_text(json.dumps(hostile_metrics(name)), encoding="utf8")
    (tmp_path / "evil.ipynb").write_text(json.dumps({"cells": []}), encoding="utf8")
    with pytest.raises(RunError, match="which is a path"):
        write_run_page(inside)
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.slow(3)
def test_static_forms_of_the_live_views_show_hostile_text_as_text() -> None:
    lm = mini()
    text = ALL[:300]
    packed = nbtools.pack([ALL, "a plain film review that is long enough"], lm, 64)
    views: list[Any] = [
        nbtools.PromptLab(lm, text, max_new_tokens=2),
        nbtools.AttentionExplorer(lm, text[:80]),
        nbtools.TokenInspector(lm, packed),
        nbtools.Microscope(lm, lm, text[:80]),
    ]
    for view in views:
        assert active_parts(view.static_html()) == [], type(view).__name__
        view.close()


def test_no_live_view_sets_text_as_html() -> None:
    for file in WIDGETS.glob("*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|\.srcdoc", file.read_text()
        )
        assert not found, file.name


def test_controls_and_marks_of_direction_in_a_token_are_made_visible_on_both_sides() -> None:
    assert visible("a\x1b[2J \u202eb\n") == "a<U+001B>[2J␣<U+202E>b⏎"
    in_python = CONTROLS.pattern.replace("\ud800-\udfff", "")  # a browser's text is made of surrogates, and none of them is lone
    in_browser = re.search(r"^const CONTROLS = /(\[.*\])/g;$", (WIDGETS / "elements.js").read_text(encoding="utf8"), re.MULTILINE)
    assert in_browser is not None and in_browser[1].encode().decode("unicode_escape") == in_python


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_shows_control_characters_and_obeys_none(text: str) -> None:
    error = CourseError(f"There is no file {text}.", text)
    assert controls(str(error)) == [] == controls("".join(error._render_traceback_()))
    assert printable("plain\ttext\nin lines, ünïcode 🙂") == "plain\ttext\nin lines, ünïcode 🙂"


def test_the_terminal_shows_a_failing_notebook_with_a_hostile_name_and_message() -> None:
    """A name such as [/bold] was read as markup, and ended the display with an error of its own."""
    from nbtools.runs import CourseLines, Failure, Job, Progress, RunDisplay
    from nbtools.runs.client import strip_colours

    out = io.StringIO()
    lines = strip_colours("\n".join(TEXTS)).splitlines()
    status = {"state": "failed", "seconds": 1.0, "peak_memory_bytes": 0, "failure": Failure("error", 1, 2, ALL, lines).record()}
    for name in TEXTS:
        job = Job(f"{name.replace('/', '|')}.ipynb")
        with RunDisplay(CourseLines(), Console(file=out, width=100_000, no_color=True)) as display:
            display.update(Progress(1, 1, due=[job], running=[job]))
            display.finish(job, status, Progress(1, 1, due=[job], failed=1))
    shown = out.getvalue()
    assert controls(shown) == [] and "<U+202E>" in shown and "[link=http://evil.example]here[/link] [/bold] [red]" in shown


def test_the_terminal_shows_a_sweep_with_hostile_parameters() -> None:
    from nbtools.runs import Job, Progress, RunDisplay, SweepLines

    job = Job("x.ipynb", {"word": ALL}, id="0" * 12)
    progress = Progress(2, 1, ["word"], done=1, running=[job], best=(job.parameters, 1.0))
    out = io.StringIO()
    failure = {"reason": "it raised", "cell": 1, "lines": [ALL]}
    with RunDisplay(SweepLines(), Console(file=out, width=100_000, no_color=True, force_terminal=True, legacy_windows=False)) as display:
        display.update(progress)
        display.finish(job, {"state": "done", "value": 1.0, "seconds": 2.0}, progress)
        display.finish(job, {"state": "failed", "failure": failure, "seconds": 2.0}, progress)
    lines = [line for line in out.getvalue().splitlines() if "word" in line and ("done" in line or "failed" in line)]
    assert lines and all("<U+001B>]0;owned<U+0007>" in line and "[/bold]" in line for line in lines)
