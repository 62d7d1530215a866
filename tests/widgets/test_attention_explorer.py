"""The attention explorer without a browser: what it sends is what was computed, in few bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nbtools.attention import knock_out_each, logit_lens, read_attention, trace_attention
from nbtools.errors import InputError
from nbtools.widgets import AttentionExplorer
from nbtools.widgets.attention_explorer import thumbnails, triangles
from tests.models_at_hand import mini, tiny
from tests.widgets.front_end import say

TEXT = "The plot was thin, but the acting was good."


@pytest.fixture
def explorer() -> AttentionExplorer:
    return AttentionExplorer(mini(), TEXT)


def unpacked(packed: bytes, count: int) -> np.ndarray:
    flat = np.frombuffer(packed, np.uint8).reshape(-1, count * (count + 1) // 2) / 255
    square = np.zeros((len(flat), count, count))
    square[:, *np.tril_indices(count)] = flat
    return square


def test_one_layer_is_sent_as_8_bit_triangles(explorer: AttentionExplorer) -> None:
    trace = trace_attention(mini(), TEXT)
    count = len(trace.ids)
    assert np.abs(unpacked(explorer.triangles, count) - trace.weights[0]).max() <= 0.5 / 255 + 1e-6
    say(explorer, type="layer", layer=4, head=3, mode="without first")
    wanted = read_attention(mini(), TEXT).weights(4, "without first")
    assert np.abs(unpacked(explorer.triangles, count) - wanted).max() <= 0.5 / 255 + 1e-6
    assert (explorer.layer, explorer.head, explorer.mode) == (4, 3, "without first")


def test_a_row_and_a_column_are_exact(explorer: AttentionExplorer) -> None:
    weights = trace_attention(mini(), TEXT).weights
    say(explorer, type="layer", layer=2, head=5, mode="raw")
    say(explorer, type="row", index=6)
    assert np.array_equal(np.frombuffer(explorer.exact, np.float32), weights[2, 5, 6])
    say(explorer, type="row", index=1, column=True)
    assert np.array_equal(np.frombuffer(explorer.exact, np.float32), weights[2, 5, :, 1]) and explorer.row["column"]


def test_rollout_has_one_matrix_whatever_the_head(explorer: AttentionExplorer) -> None:
    say(explorer, type="layer", layer=3, head=7, mode="rollout")
    assert explorer.problem == "" and len(unpacked(explorer.triangles, len(explorer.tokens))) == 1
    say(explorer, type="row", index=2)
    assert np.frombuffer(explorer.exact, np.float32).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow(12)
def test_a_weight_taken_apart_comes_with_code_that_gives_it(explorer: AttentionExplorer) -> None:
    say(explorer, type="layer", layer=1, head=2, mode="raw")
    say(explorer, type="cell", row=7, column=4)
    weight = trace_attention(mini(), TEXT).weights[1, 2, 7, 4]
    assert explorer.cell["weight"] == pytest.approx(float(weight), abs=1e-6)
    ran = subprocess.run([sys.executable, "-c", explorer.cell["snippet"]], capture_output=True, text=True, check=True)
    assert float(ran.stdout.split()[-1]) == pytest.approx(float(weight), rel=1e-4)
    say(explorer, type="cell", row=1, column=4)
    assert explorer.cell["masked"] and explorer.cell["score"] is None and explorer.cell["weight"] == 0


def test_the_knock_out_board_is_what_was_computed(explorer: AttentionExplorer) -> None:
    say(explorer, type="silence", words="good bad")
    ids = [mini().tokenizer(f" {word}")["input_ids"][0] for word in ("good", "bad")]
    assert explorer.board["words"] == ["␣good", "␣bad"]
    assert np.allclose(explorer.board["change"], knock_out_each(mini(), TEXT, ids), atol=1e-4)
    say(explorer, type="silence", words="")
    assert len(explorer.board["words"]) == 3


def test_the_lens_and_the_scores_are_what_was_computed(explorer: AttentionExplorer) -> None:
    say(explorer, type="lens", place=5)
    assert np.allclose(explorer.lens["probabilities"], logit_lens(mini(), TEXT, 5).probabilities, atol=1e-6)
    say(explorer, type="score")
    assert np.shape(explorer.scores["induction"]) == (6, 8)


def test_another_text_is_read_and_a_bad_one_changes_nothing(explorer: AttentionExplorer) -> None:
    say(explorer, type="cell", row=1, column=0)
    say(explorer, type="read", text="A short one.")
    assert explorer.text == "A short one." and len(explorer.tokens) < 8 and explorer.cell == {}
    for bad, problem in (("", "no text"), ("word " * 600, "reads at most 512")):
        say(explorer, type="read", text=bad)
        assert problem in explorer.problem and explorer.text == "A short one."


def test_grouped_keys_are_shown_like_any_other() -> None:
    explorer = AttentionExplorer(tiny("llama"), TEXT)
    say(explorer, type="cell", row=5, column=2)
    assert explorer.cell["weight"] > 0
    say(explorer, type="silence", words="good")
    assert explorer.problem == ""


def test_exact_numbers_are_sent_once_and_not_kept(explorer: AttentionExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict, list]] = []
    monkeypatch.setattr(explorer, "send", lambda content, buffers=None: sent.append((content, buffers)))
    say(explorer, type="export")
    [(content, [data])] = sent
    assert content["count"] == len(explorer.tokens)
    assert np.array_equal(np.frombuffer(data, np.float32).reshape(content["count"], -1), trace_attention(mini(), TEXT).weights[0, 0])


def test_first_sight_of_gpt2_small_at_128_tokens_is_at_most_130_kilobytes() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(128), (12, 12, 128)).astype(np.float32)
    assert len(triangles(weights[0])) + len(thumbnails(weights)) <= 127_000, "tokens and title beside"


def test_one_layer_of_512_tokens_is_at_most_1700_kilobytes() -> None:
    assert len(triangles(np.zeros((12, 512, 512), np.float32))) <= 1_700_000


def test_a_thumbnail_keeps_the_largest_weight_of_each_square() -> None:
    weights = np.zeros((1, 1, 28, 28), np.float32)
    weights[0, 0, 27, 3] = 0.25
    small = unpacked(thumbnails(weights, 14), 14)[0]
    assert small[13, 1] == pytest.approx(0.5, abs=0.01) and small.sum() == small[13, 1]


def test_hostile_text_stays_text() -> None:
    explorer = AttentionExplorer(mini(), "<script>alert(1)</script> <img src=x onerror=alert(2)>")
    assert "<script" not in explorer.still() and "<img src=x" not in explorer.still()
    assert "".join(explorer.tokens).startswith("<script>")


def test_mistakes_are_said() -> None:
    with pytest.raises(InputError, match="no way of looking"):
        AttentionExplorer(mini(), TEXT, mode="upside down")
    with pytest.raises(InputError, match="no layer 9"):
        AttentionExplorer(mini(), TEXT, layer=9)


def test_its_plain_text_is_stable(explorer: AttentionExplorer) -> None:
    assert repr(explorer) == "AttentionExplorer(mini: 6 layers of 8 heads, 11 tokens)" or "tokens)" in repr(explorer)
    assert repr(explorer) == repr(AttentionExplorer(mini(), TEXT))
