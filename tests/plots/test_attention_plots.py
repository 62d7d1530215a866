"""Figures of attention on small arrays: content, alternative text, and tokens that could break a label."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nbtools.attention import AttentionCost, AttentionTrace
from nbtools.errors import InputError
from nbtools.plots.attention import MAX_LABELS, draw_cost, draw_head, draw_heads, draw_matrices, draw_positions


def trace_of(tokens: list[str], layers: int = 2, heads: int = 3) -> AttentionTrace:
    count = len(tokens)
    weights = np.tril(np.random.default_rng(0).random((layers, heads, count, count)) + 0.1)
    weights /= weights.sum(axis=-1, keepdims=True)
    return AttentionTrace("".join(tokens), list(range(count)), tokens, weights.astype(np.float32), "tiny")


def labels(picture, axis: str) -> list[str]:
    return [label.get_text() for label in getattr(picture.figure.axes[0], f"get_{axis}ticklabels")()]


def test_each_thumbnail_shows_the_weights_of_its_head():
    trace = trace_of(["a", " b", " c"])
    picture = draw_heads(trace)
    assert len(picture.figure.axes) == 6
    assert np.allclose(picture.figure.axes[4].images[0].get_array(), np.sqrt(trace.weights[1, 1]))
    assert "2 rows of layers, 3 columns of heads" in picture.alt and "tiny" in picture.alt
    assert picture.png().startswith(b"\x89PNG")


def test_a_model_of_one_layer_and_one_head_can_be_drawn():
    assert draw_heads(trace_of(["a"], 1, 1)).png()
    assert "1 rows are strongest at the first token" in draw_head(trace_of(["a"], 1, 1), 0, 0).alt


def test_one_head_shows_its_weights_and_visible_tokens():
    trace = trace_of(["The", " sea", "\n", "\t"])
    picture = draw_head(trace, 1, 2)
    assert np.array_equal(picture.figure.axes[0].images[0].get_array(), trace.weights[1, 2])
    assert labels(picture, "y") == labels(picture, "x") == ["The", "␣sea", "⏎", "⇥"]


def test_awkward_tokens_are_drawn_without_a_warning():
    # Two dollar signs are a formula to matplotlib, an unclosed one with a backslash is an error; DejaVu Sans has no Chinese.
    picture = draw_head(trace_of(["$5", r"$\frac", "海", "😀", "$^$"]), 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.png()
    assert labels(picture, "x")[:3] == ["$5", r"$\frac", "□"]


def test_a_long_text_has_fewer_labels_than_tokens():
    picture = draw_head(trace_of(["a"] * (3 * MAX_LABELS), 1, 1), 0, 0)
    assert 0 < len(labels(picture, "x")) <= MAX_LABELS


@pytest.mark.parametrize(("layer", "head"), [(2, 0), (0, 3), (-1, 0)])
def test_an_unknown_head_raises_an_error_with_the_valid_range(layer, head):
    with pytest.raises(InputError, match=f"no layer {layer}, head {head}") as caught:
        draw_head(trace_of(["a", "b"]), layer, head)
    assert "Layers are 0 to 1 and heads 0 to 2" in caught.value.remedy


def test_position_tables_stand_side_by_side():
    left, right = np.eye(4, 6), np.eye(5)
    picture = draw_positions({"fixed": left, "learned": right}, columns=("dimension", "position"))
    shown = [ax for ax in picture.figure.axes if ax.images]
    assert [ax.get_xlabel() for ax in shown] == ["dimension", "position"]
    assert np.array_equal(shown[1].images[0].get_array(), right)
    assert "fixed (4 by 6); learned (5 by 5)" in picture.alt and picture.png()


def test_cost_shows_what_was_measured_in_milliseconds():
    lengths = np.array([10, 20, 40])
    cost = AttentionCost(lengths, 1e-5 * lengths, 1e-6 * lengths**2.0, 1e-7 * lengths**2.0, 4 * lengths**2)
    picture = draw_cost(cost)
    time_axes = picture.figure.axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in time_axes.lines}
    assert np.allclose(drawn["making Q, K and V"], [0.1, 0.2, 0.4])
    assert time_axes.get_xscale() == time_axes.get_yscale() == "log"
    # No measured number in the text form: it is stored in notebooks and must be the same on every machine.
    assert "10 to 40 tokens" in repr(picture) and "0.4" not in repr(picture)
    assert picture.png()


def test_small_matrices_show_their_numbers():
    X, scores = np.array([[1.0, 0.25, -3.0], [0.0, 2.0, 1.5]]), np.array([[1.0, -np.inf], [0.5, 0.5]])
    picture = draw_matrices({"X": X, "scores": scores}, rows=["dogs", "$cats"])
    first, second, *empty = picture.figure.axes
    assert [text.get_text() for text in first.texts] == ["1", "0.25", "-3", "0", "2", "1.50"]
    assert [text.get_text() for text in second.texts] == ["1", "-∞", "0.50", "0.50"]
    assert labels(picture, "y") == ["dogs", "$cats"] and second.get_title() == "scores"
    assert not any(ax.axison for ax in empty) and "X (2 by 3), scores (2 by 2)" in picture.alt and picture.png()
