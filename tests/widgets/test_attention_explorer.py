"""The attention explorer without a browser: what it sends is what was computed, in few bytes."""

from __future__ import annotations

import numpy as np
import pytest

from nbtools.attention import ablate_each_head, logit_lens, read_attention, trace_attention
from nbtools.errors import InputError
from nbtools.widgets import AttentionExplorer
from nbtools.widgets.attention_explorer import thumbnails, triangles
from tests.small_models import mini, tiny
from tests.widgets.front_end import ask

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
    assert np.abs(unpacked(explorer.shown["triangles"], count) - trace.weights[0]).max() <= 0.5 / 255 + 1e-6
    reply = ask(explorer, "layer", layer=4, head=3, mode="without first").result
    wanted = read_attention(mini(), TEXT).weights(4, "without first")
    assert np.abs(unpacked(reply["triangles"], count) - wanted).max() <= 0.5 / 255 + 1e-6
    assert [reply[name] for name in ("layer", "head", "mode")] == [4, 3, "without first"]
    assert (explorer.layer, explorer.head, explorer.mode) == (4, 3, "without first")


def test_another_head_of_the_layer_sends_no_weights_again(explorer: AttentionExplorer) -> None:
    assert ask(explorer, "head", head=5).result.keys() == {"head", "revision"}
    assert explorer.head == 5 and explorer.shown["head"] == 5


def test_a_layer_or_mode_that_does_not_exist_changes_nothing(explorer: AttentionExplorer) -> None:
    assert "no layer 9" in ask(explorer, "layer", layer=9, head=0, mode="raw").error
    assert "no mode called" in ask(explorer, "layer", layer=1, head=0, mode="upside down").error
    assert (explorer.layer, explorer.mode, explorer.shown["layer"]) == (0, "raw", 0)


def test_a_row_and_a_column_are_exact(explorer: AttentionExplorer) -> None:
    weights = trace_attention(mini(), TEXT).weights
    ask(explorer, "layer", layer=2, head=5, mode="raw")
    reply = ask(explorer, "row", index=6).result
    assert np.array_equal(np.frombuffer(reply["exact"], np.float32), weights[2, 5, 6])
    reply = ask(explorer, "row", index=1, column=True).result
    assert np.array_equal(np.frombuffer(reply["exact"], np.float32), weights[2, 5, :, 1]) and reply["row"]["column"]
    assert "exact" not in explorer.shown, "only the view that asked gets it"


def test_rollout_has_one_matrix_whatever_the_head(explorer: AttentionExplorer) -> None:
    reply = ask(explorer, "layer", layer=3, head=7, mode="rollout").result
    assert len(unpacked(reply["triangles"], len(explorer.shown["tokens"]))) == 1
    row = ask(explorer, "row", index=2).result
    assert np.frombuffer(row["exact"], np.float32).sum() == pytest.approx(1, abs=1e-5)


def test_a_weight_taken_apart(explorer: AttentionExplorer) -> None:
    ask(explorer, "layer", layer=1, head=2, mode="raw")
    cell = ask(explorer, "cell", row=7, column=4).result["cell"]
    weight = trace_attention(mini(), TEXT).weights[1, 2, 7, 4]
    assert cell["weight"] == pytest.approx(float(weight), abs=1e-6)
    cell = ask(explorer, "cell", row=1, column=4).result["cell"]
    assert cell["masked"] and cell["score"] is None and cell["weight"] == 0


def test_the_ablations_are_what_was_computed(explorer: AttentionExplorer) -> None:
    found = ask(explorer, "ablate", words="good bad").result["ablation"]
    ids = [mini().tokenizer(f" {word}")["input_ids"][0] for word in ("good", "bad")]
    assert found["words"] == ["␣good", "␣bad"]
    assert np.allclose(found["change"], ablate_each_head(mini(), TEXT, ids), atol=1e-4)
    assert len(ask(explorer, "ablate", words="").result["ablation"]["words"]) == 3


def test_the_lens_and_the_scores_are_what_was_computed(explorer: AttentionExplorer) -> None:
    lens = ask(explorer, "lens", position=5).result["lens"]
    assert np.allclose(lens["probabilities"], logit_lens(mini(), TEXT, 5).probabilities, atol=1e-6)
    assert np.shape(ask(explorer, "score").result["scores"]["induction"]) == (6, 8)


def test_another_text_is_shown_and_a_bad_one_changes_nothing(explorer: AttentionExplorer) -> None:
    ask(explorer, "cell", row=1, column=0)
    reply = ask(explorer, "text", text="A short one.").result
    assert explorer.text == "A short one." and len(reply["tokens"]) < 8 and reply["cell"] == {}
    for bad, problem in (("", "no text"), ("word " * 600, "reads at most 512")):
        assert problem in ask(explorer, "text", text=bad).error and explorer.text == "A short one."


def test_grouped_keys_are_shown_like_any_other() -> None:
    explorer = AttentionExplorer(tiny("llama"), TEXT)
    assert ask(explorer, "cell", row=5, column=2).result["cell"]["weight"] > 0
    assert ask(explorer, "ablate", words="good").error == ""


def test_exact_numbers_are_sent_once_and_not_kept(explorer: AttentionExplorer) -> None:
    reply = ask(explorer, "export").result
    count = len(reply["tokens"])
    assert np.array_equal(np.frombuffer(reply["matrix"], np.float32).reshape(count, -1), trace_attention(mini(), TEXT).weights[0, 0])
    assert "matrix" not in explorer.shown


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
    assert "<script" not in explorer.static_html() and "<img src=x" not in explorer.static_html()
    assert "".join(explorer.shown["tokens"]).startswith("<script>")


def test_mistakes_are_said() -> None:
    with pytest.raises(InputError, match="no mode called"):
        AttentionExplorer(mini(), TEXT, mode="upside down")
    with pytest.raises(InputError, match="no layer 9"):
        AttentionExplorer(mini(), TEXT, layer=9)


def test_its_plain_text_is_stable(explorer: AttentionExplorer) -> None:
    assert repr(AttentionExplorer(mini(), TEXT)) == f"AttentionExplorer('mini', {TEXT!r}, mode='raw', layer=0, head=0)"
    assert repr(explorer).startswith(f"AttentionExplorer('mini', {explorer.text!r}, ")
