"""Figures of decoding, drawn from invented distributions without a model."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nbtools.generation import NextTokens
from nbtools.plots.generation import draw_cache, draw_cuts, draw_next_tokens, draw_temperatures


class _Made(NextTokens):
    """A distribution whose tokens have invented texts."""

    def texts(self, count):
        return [" $a", "x$", "🙂", "<b>", "映", " the"][:count]


def _following(probabilities) -> NextTokens:
    return _Made(np.arange(len(probabilities)), np.array(probabilities, dtype=np.float64), None)


@pytest.fixture(autouse=True)
def no_warnings():
    """A missing glyph, or a token read as a formula, would warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of an older matplotlib with a newer pyparsing
        yield


def test_the_bars_show_the_top_tokens_and_the_probability_of_the_others():
    picture = draw_next_tokens(_following([0.5, 0.25, 0.125, 0.125]), count=2, title="$ sign")
    assert "␣$a" in picture.alt and "50.0%" in picture.alt
    assert "the 2 others together 25.0%" in picture.alt
    assert picture.png().startswith(b"\x89PNG")
    assert len(picture.figure.axes[0].patches) == 3


def test_tokens_that_were_cut_get_no_bar():
    picture = draw_next_tokens(_following([0.75, 0.25, 0.0, 0.0]), count=3)
    assert len(picture.figure.axes[0].patches) == 2
    assert "the 0 others" in picture.alt
    picture.png()


def test_awkward_tokens_are_drawn_without_a_warning():
    picture = draw_next_tokens(_following([0.3, 0.25, 0.2, 0.15, 0.06, 0.04]), count=6)
    assert picture.png().startswith(b"\x89PNG") and "🙂" in picture.alt


def test_the_temperatures_are_described_with_their_entropies():
    picture = draw_temperatures({0.5: _following([1.0, 0.0]), 1.0: _following([0.5, 0.5])})
    assert "0.0 bits at 0.5, 1.0 bits at 1" in picture.alt
    picture.png()


def test_the_cuts_are_drawn_at_the_given_counts():
    made = _following([0.5, 0.3, 0.2])
    picture = draw_cuts({"one $x$": made, "y" * 90: made}, {"top-k": [1, 2], "top-p": [2, 3]})
    lines = [line.get_xdata()[0] for ax in picture.figure.axes for line in ax.lines[1:]]
    assert lines == [1, 2, 2, 3]
    assert "after “one $x$” top-k keeps 1, top-p keeps 2" in picture.alt
    assert "y" * 41 not in picture.alt
    picture.png()


def test_the_cache_curves_show_the_seconds():
    picture = draw_cache([1, 2], [3.0, 5.0], [1.0, 2.0])
    assert [list(line.get_ydata()) for line in picture.figure.axes[0].lines] == [[3.0, 5.0], [1.0, 2.0]]
    picture.png()
