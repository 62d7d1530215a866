import numpy as np
import pytest

from nbtools.compare import attention_shift, sample_pairs, top_gains
from nbtools.errors import InputError
from nbtools.generation import generate, next_tokens
from tests.small_models import mini, tiny


@pytest.fixture(scope="module")
def other():
    """mini with smaller norm weights in its last layer: the same tokens, but other probabilities."""
    import copy

    lm = copy.deepcopy(mini())
    lm.model.transformer.h[-1].ln_1.weight.data.mul_(0.2)
    lm.model.transformer.ln_f.weight.data.mul_(0.7)
    return lm


def test_top_gains_are_sorted_and_have_the_models_probabilities(other):
    shifts = top_gains(mini(), other, "The movie was", count=6)
    changes = [shift.change for shift in shifts]
    assert changes == sorted(changes, reverse=True) and len(shifts) == 6
    before, after = (next_tokens(lm, "The movie was") for lm in (mini(), other))
    for found, name in ((before, "before"), (after, "after")):
        top_tokens = {text.replace(" ", "␣"): p for text, p in zip(found.texts(400), found.probabilities, strict=False)}
        for shift in shifts:
            if shift.text in top_tokens:
                assert getattr(shift, name) == pytest.approx(top_tokens[shift.text], rel=1e-6)
    assert all(max(shift.before, shift.after) >= 1e-3 for shift in shifts)


def test_attention_shift_is_zero_for_the_same_model_and_for_unchanged_layers(other):
    text = "The plot was thin but the cast was good."
    assert attention_shift(mini(), mini(), text) == pytest.approx(0, abs=1e-9)
    moved = attention_shift(mini(), other, text)
    assert moved.shape == (6, 8) and (moved >= -1e-12).all() and (moved <= 1).all()
    assert moved[:5].max() < 1e-9 < moved[5].max()  # only the last layer's attention changes


def test_attention_shift_equals_the_formula_written_out(other):
    from nbtools.attention import trace_attention

    text = "The plot was thin."
    p, q = (trace_attention(lm, text).weights[5, 2].astype(float) for lm in (mini(), other))

    def kl(a, b):
        return sum(x * np.log2(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    rows = [(kl(a, (a + b) / 2) + kl(b, (a + b) / 2)) / 2 for a, b in zip(p[1:], q[1:], strict=True)]
    assert attention_shift(mini(), other, text)[5, 2] == pytest.approx(np.mean(rows), rel=1e-6)


def test_sample_pairs_uses_the_same_seed_for_both_models(other):
    (pair,) = sample_pairs(mini(), other, ["The movie was"], max_new_tokens=10, seed=3, temperature=0.7, top_k=50)
    assert pair["before"] == generate(mini(), "The movie was", max_new_tokens=10, seed=3, temperature=0.7, top_k=50)
    assert pair["after"] == generate(other, "The movie was", max_new_tokens=10, seed=3, temperature=0.7, top_k=50)
    assert pair["seed"] == 3 and pair["decoding"] == "sampling, temperature=0.7, top_k=50"


def test_models_with_different_tokens_are_refused():
    extended = tiny()
    extended.tokenizer.add_tokens(["extra"])
    with pytest.raises(InputError, match="different tokens"):
        top_gains(mini(), extended, "The")


def test_attention_shift_refuses_a_single_token(other):
    with pytest.raises(InputError, match="single token"):
        attention_shift(mini(), other, "The")
