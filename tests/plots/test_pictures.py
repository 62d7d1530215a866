import io

import numpy as np
import pytest

from nbtools.compare import Shift
from nbtools.evaluation import Score
from nbtools.plots import Picture, Table, new_figure
from nbtools.plots.compare import draw_moved_heads, draw_top_gains, table_of_pairs
from nbtools.plots.reviews import draw_lengths
from nbtools.plots.training import draw_before_after, draw_curve, draw_schedules

CURVE = [
    {"step": 1, "loss": 5.5, "tokens": 100},
    {"step": 10, "loss": 5.0, "tokens": 1000, "validation_perplexity": 150.0},
    {"step": 20, "loss": 4.8, "tokens": 2000, "validation_perplexity": 130.0},
]


def score(nll):
    return Score(nll, 100, 400, 10, np.full(10, nll / 10), np.full(10, 40))


PICTURES = {
    "curve": lambda: draw_curve(CURVE, "title"),
    "curve of one row": lambda: draw_curve(CURVE[:1]),
    "before and after": lambda: draw_before_after({"validation": score(560.0)}, {"validation": score(480.0)}),
    "schedules": lambda: draw_schedules({"linear": [1.0, 0.5, 0.0], "constant": [1.0, 1.0, 1.0]}, {1: 0.3, 4: 0.8}),
    "lengths": lambda: draw_lengths(np.array([10, 200, 700, 30]), [0, 1, 0, 1], 512),
    "none likelier": lambda: draw_top_gains([], "The film"),
    "likelier": lambda: draw_top_gains([Shift("␣film", 0.001, 0.05), Shift("$x$", 0.1, 0.2)], "The $5 film"),
    "moved heads": lambda: draw_moved_heads(np.array([[0.0, 0.2], [0.5, 0.1]])),
    "nothing moved": lambda: draw_moved_heads(np.zeros((2, 2))),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_and_has_alternative_text(name):
    from matplotlib.image import imread

    picture = PICTURES[name]()
    data, metadata = picture._repr_mimebundle_()
    pixels = imread(io.BytesIO(picture.png()))
    assert pixels.shape[0] > 100 and pixels[..., :3].std() > 0.01
    assert metadata["image/png"]["alt"] == picture.alt and len(picture.alt) > 20
    assert data["text/plain"] == f"[picture: {picture.alt}]"


def test_the_alternative_text_has_the_numbers():
    assert "5.50 at step 1, 4.80 at step 20" in draw_curve(CURVE).alt
    assert "validation from 270.4 to 121.5" in draw_before_after({"validation": score(560.0)}, {"validation": score(480.0)}).alt
    assert "head 0 of layer 1 moved most, 0.50 bits" in draw_moved_heads(np.array([[0.0, 0.2], [0.5, 0.1]])).alt


def test_a_picture_is_the_same_bytes_twice():
    assert draw_curve(CURVE).png() == draw_curve(CURVE).png()


@pytest.mark.slow(6)
def test_many_figures_leave_nothing_in_pyplot():
    import matplotlib.pyplot as plt

    for _ in range(30):
        Picture(new_figure()[0], "empty").png()
    assert plt.get_fignums() == []


def test_a_table_shows_hostile_text_as_text():
    table = Table(["<b>head</b>"], [["<script>alert(1)</script>"], ["a & b"]], caption="<i>")
    html = table._repr_html_()
    assert "<script" not in html and "<b>head" not in html and "<i>" not in html
    assert "&lt;script&gt;" in html and "a &amp; b" in html
    assert "<script>alert(1)</script>" in repr(table)


def test_a_table_wraps_long_cells_and_shows_when_it_is_empty():
    text = repr(Table(["a", "b"], [["word " * 30, "x"]]))
    assert max(map(len, text.splitlines())) < 60
    assert "none" in repr(Table(["a", "b"], []))
    with pytest.raises(ValueError, match="cell"):
        Table(["a", "b"], [["only one"]])


def test_pairs_show_what_follows_the_prompt():
    pair = {"prompt": "The movie was", "before": "The movie was bad", "after": "The movie was good", "seed": 3, "decoding": "greedy"}
    table = table_of_pairs([pair])
    assert table.rows == [["The movie was …", "bad", "good"]] and table.caption == "greedy, seed 3"


def test_only_words_too_long_for_a_column_are_broken():
    shown = Table(["in a word"], [["no difference"], ["x" * 60]])._repr_html_()
    assert shown.count("overflow-wrap:break-word") == 2 and shown.count("overflow-wrap:anywhere") == 1
    assert shown.count("word-break:normal") == 3  # else JupyterLab, which sets break-all, breaks every word
