import itertools
import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nbtools.errors import RunError
from nbtools.report import write_run_page
from nbtools.report.charts import draw_curve, ticks
from nbtools.report.layout import number
from nbtools.report.markup import clean_html, render_formula, render_markdown

EVIL = "<script>alert('x')</script>"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="


def finetune():
    score = {"nll": 3.0, "tokens": 1000, "bytes": 4000, "reviews": 240}
    return {
        "schema": 1, "kind": "finetune", "profile": "mini", "model": EVIL, "source": "the package",
        "parameters": {"max_steps": 300, "lora": False},
        "data": {"source": "package", "kept": 2400, "packed": {"blocks": 1200}},
        "before": {part: {**score, "perplexity": 80.25, "bits_per_byte": 1.62} for part in ("validation", "test")},
        "after": {
            "validation": {**score, "perplexity": 31.0, "bits_per_byte": 1.27},
            "test": {**score, "perplexity": 32.1, "bits_per_byte": 1.28},
        },
        "curve": [
            {"step": step, "loss": 5 - step / 100, "learning_rate": 1e-3, "tokens": step * 2048, "seconds": step / 3}
            | ({"validation_perplexity": 80 - step / 5} if step % 100 == 0 else {})
            for step in range(10, 310, 10)
        ],
        "samples": [{"prompt": "The movie", "before": "The movie <b>was</b>", "after": f"The movie {EVIL}", "seed": 0,
                     "decoding": "greedy"}],
        "tokens_seen": 614_400, "seconds": 95.0, "choices": {"dtype": "bf16", "dtype_reason": "measured"},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    metrics = {
        "schema": 1, "kind": "run", "created": "2026-01-02T03:04:05+00:00", "state": "failed", "nbtools": "0.1.0",
        "versions": {"torch": "2.13"}, "memory_method": "sampled",
        "machine": {"processor": "a processor", "cores": 2, "memory_bytes": 8e9, "python": "3.11.9", "system": "Linux"},
        "notebooks": {
            "01_a": {"state": "done", "title": f"First {EVIL}", "parameters": {"seed": 1}, "seconds": 65.0,
                     "peak_memory_bytes": 900_000_000},
            "02_b": {"state": "failed", "title": "Second", "parameters": {}, "seconds": 5.0, "peak_memory_bytes": 300_000_000,
                     "failure": {"reason": "the cell raised an error", "cell": 2, "lines": [EVIL]}},
            "03_c": {"state": "waiting", "title": "Third", "parameters": {}},
        },
        "finetune": finetune(),
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    display = new_output(
        "display_data", data={"image/png": PIXEL, "text/plain": "[picture]"}, metadata={"image/png": {"alt": 'A "red" dot'}}
    )
    page = new_output(
        "display_data", data={"text/html": f"<div onclick='x()'>shown {EVIL}<img src='https://example.org/x.png'>", "text/plain": "t"}
    )
    vector = new_output("display_data", data={"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>", "text/plain": "v"})
    error = new_output("error", ename="ValueError", evalue="v", traceback=["\x1b[31mValueError\x1b[0m: <v>"])
    text = "# Head\n\n$a_1 < b$ and [next](02_b.ipynb), [gone](09_x.ipynb), [web](https://example.org)\n\n<details><summary>Hint</summary>\n\n*It*\n\n</details>"
    cells = [
        new_markdown_cell(f"{text}\n\n{EVIL}"),
        new_code_cell("x = 1 < 2", outputs=[display, page, vector, new_output("stream", name="stdout", text="<out>")], execution_count=1),
        new_code_cell("seed = 1", metadata={"tags": ["injected-parameters"]}, execution_count=2),
        new_code_cell("raise", outputs=[error], execution_count=3),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    nbformat.write(new_notebook(cells=[new_code_cell("1/0")]), tmp_path / "02_b.failed.ipynb")
    return tmp_path


class Structure(HTMLParser):
    """The elements of a page; fails where an end does not match its start."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in {"meta", "br", "img", "hr", "col"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_the_results(folder):
    page = write_run_page(folder).read_text()
    for words in (
        "80.2",
        "32.1",
        "2.5 times lower",
        "2.6 times lower",
        "1 of 3 notebooks ran",
        "65 s",
        "0.90 GB",
        "614,400 tokens",
        "not run",
    ):
        assert words in page
    assert '<a href="notebooks/01_a.html">' in page and '<a class="file" href="02_b.failed.ipynb">' in page and "03_c.html" not in page
    assert "<mark>The movie</mark>" in page and "bf16: measured" in page and page.count('class="curve"') == 2


def test_pages_are_well_formed_accessible_and_need_nothing_else(folder):
    write_run_page(folder)
    for file in (folder / "index.html", folder / "notebooks" / "01_a.html", folder / "notebooks" / "02_b.html"):
        structure = Structure(file.read_text())
        assert not {"script", "link", "iframe"} & set(structure.seen)
        assert ("html", "lang", "en") in structure.attributes and structure.seen.count("main") == 1
        assert structure.seen.count("img") == sum(1 for tag, name, _ in structure.attributes if (tag, name) == ("img", "alt"))
        assert all(value.startswith("data:image/") for _, name, value in structure.attributes if name == "src")
        assert not [name for _, name, _ in structure.attributes if name.startswith("on")]


def test_nothing_from_outside_becomes_markup(folder):
    write_run_page(folder)
    for file in folder.rglob("*.html"):
        assert "<script" not in file.read_text() and "alert('x')" not in re.sub(r"&[^;]*;", "", file.read_text())
    assert "&lt;b&gt;was&lt;/b&gt;" in (folder / "index.html").read_text()


def test_a_notebook_is_shown_unchanged(folder):
    write_run_page(folder)
    page = (folder / "notebooks" / "01_a.html").read_text()
    assert ("img", "alt", 'A "red" dot') in Structure(page).attributes
    assert "&lt;out&gt;" in page and "ValueError: &lt;v&gt;" in page
    assert 'href="02_b.html"' in page and "09_x" not in page and 'href="https://example.org"' in page
    assert "<details><summary>Hint</summary>" in page and "<em>It</em>" in page and "<msub>" in page
    assert "Parameters given for this run" in page and "shown " in page


def test_a_run_without_fine_tuning_has_a_page_too(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"finetune": None}))
    page = write_run_page(folder).read_text()
    Structure(page)
    assert "The notebooks" in page and "Before and after" not in page


def test_metrics_that_are_missing_or_worse_are_shown_as_such(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    tuned = metrics["finetune"]
    tuned["after"]["test"]["perplexity"], tuned["after"]["validation"]["perplexity"], tuned["curve"], tuned["samples"] = 160.5, None, [], []
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = write_run_page(folder).read_text()
    Structure(page)
    assert '<strong class="bad">2.0 times as high</strong>' in page and "<td>–</td>" in page and "How it learned" not in page


def test_a_folder_without_metrics_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no metrics"):
        write_run_page(tmp_path)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("<p onclick=x>a<b>b</p>c", "<p>a<b>b</b></p><b>c</b>"), ("</div></main>a", "a"), ("<div>open", "<div>open</div>"),
        ("<style>p{}</style><iframe>x</iframe>y", "y"), ("<a href='javascript:x()'>a</a>", '<a rel="noreferrer">a</a>'),
        ("<a href=' JaVaScRiPt:x'>a</a>", '<a rel="noreferrer">a</a>'),
        ("<p style='color:red'>a</p>", '<p style="color:red">a</p>'), ("<p style='background:URL(x)'>a</p>", "<p>a</p>"),
        ("<img src='http://x/y.png' alt='a red dot'>", '<img alt="a red dot">'),
        ("<td>a</td>", "a"), ("<table><tr><td>a", "<table><tbody><tr><td>a</td></tr></tbody></table>"),
        ("<p style='position:fixed; color:rgb(1, 2, 3); margin:-9em'>a</p>", '<p style="color:rgb(1, 2, 3)">a</p>'),
        ("<custom>a</custom> & <", "a &amp; &lt;"),
        ("<svg><script>x</script></svg>y", "y"),
    ],
)  # fmt: skip
def test_html_is_reduced_to_presentational_markup(given, kept):
    assert clean_html(given) == kept


def test_markdown_with_code_formulas_tables_and_the_marks_of_this_module():
    shown = render_markdown("```python\nx = '<'\n```\n\n| a | b |\n|---|---|\n| $x^2$ | 2 |\n\nprice \\$5 \ue0000\ue001 and $$y$$")
    assert '<span class="n">x</span>' in shown and "&lt;" in shown and "<td>" in shown and "<msup>" in shown and "$5 0 and" in shown
    assert "\ue000" not in shown


def test_a_formula_that_cannot_be_drawn_stays_readable():
    assert render_formula("<\\frac{") == '<code class="tex">&lt;\\frac{</code>'
    assert render_formula("a < b").startswith('<math aria-label="a &lt; b"')


@pytest.mark.parametrize(("low", "high"), [(0, 1), (5.4, 5.9), (0, 300), (3, 3), (0, 0), (1e-5, 2e-5), (-3, 7)])
def test_ticks_are_round_and_cover_the_range(low, high):
    marks = ticks(low, high)
    assert marks[0] <= low and marks[-1] >= high and 2 <= len(marks) <= 8
    steps = {round(b - a, 10) for a, b in itertools.pairwise(marks)}
    assert len(steps) == 1 and float(f"{steps.pop():e}".split("e")[0]) in (1.0, 2.0, 5.0)


def test_a_curve_stays_within_its_picture():
    drawn = draw_curve([(10, 5.0), (20, 4.0), (300, 3.1)], ("step", "loss"), "From 5 to 3.").svg()
    points = re.search(r'<polyline class="line" points="([^"]+)"', drawn)[1]
    assert all(0 <= float(x) <= 480 and 0 <= float(y) <= 240 for x, y in (point.split(",") for point in points.split()))
    assert 'aria-label="From 5 to 3."' in drawn and "<circle" in draw_curve([(1, 1.0)], ("x", "y"), "One.").svg()


def test_numbers_for_reading():
    assert [number(value, 2) for value in (1234.5, 12, 0.00012, None, float("nan"))] == ["1,234.50", "12", "0.00012", "–", "–"]
