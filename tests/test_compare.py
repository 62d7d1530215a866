import numpy as np
import pytest

from nbtools.compare import attention_shift, sample_pairs, top_gains
from nbtools.errors import InputError
from nbtools.generation import generate, next_tokens
from tests.small_models import mini, tiny


@pytest.fixture(scope="module")
def other():
    """mini with its last layer's norm turned down: the same tokens, another distribution."""
    import copy

    lm = copy.deepcopy(mini())
    lm.model.transformer.h[-1].ln_1.weight.data.mul_(0.2)
    lm.model.transformer.ln_f.weight.data.mul_(0.7)
    return lm


def test_likelier_tokens_are_sorted_by_their_change_and_have_the_models_probabilities(other):
    shifts = top_gains(mini(), other, "The movie was", count=6)
    changes = [shift.change for shift in shifts]
    assert changes == sorted(changes, reverse=True) and len(shifts) == 6
    before, after = (next_tokens(lm, "The movie was") for lm in (mini(), other))
    for found, name in ((before, "before"), (after, "after")):
        leaders = {text.replace(" ", "␣"): p for text, p in zip(found.texts(400), found.probabilities, strict=False)}
        for shift in shifts:
            if shift.text in leaders:
                assert getattr(shift, name) == pytest.approx(leaders[shift.text], rel=1e-6)
    assert all(max(shift.before, shift.after) >= 1e-3 for shift in shifts)


def test_a_model_compared_with_itself_has_not_moved(other):
    text = "The plot was thin but the cast was good."
    assert attention_shift(mini(), mini(), text) == pytest.approx(0, abs=1e-9)
    moved = attention_shift(mini(), other, text)
    assert moved.shape == (6, 8) and (moved >= -1e-12).all() and (moved <= 1).all()
    assert moved[:5].max() < 1e-9 < moved[5].max()  # only the last layer reads otherwise


def test_the_divergence_is_scipys_formula_written_out(other):
    from nbtools.attention import trace_attention

    text = "The plot was thin."
    p, q = (trace_attention(lm, text).weights[5, 2].astype(float) for lm in (mini(), other))

    def kl(a, b):
        return sum(x * np.log2(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    rows = [(kl(one, (one + two) / 2) + kl(two, (one + two) / 2)) / 2 for one, two in zip(p[1:], q[1:], strict=True)]
    assert attention_shift(mini(), other, text)[5, 2] == pytest.approx(np.mean(rows), rel=1e-6)


def test_pairs_hold_what_each_model_writes_with_the_same_dice(other):
    (pair,) = sample_pairs(mini(), other, ["The movie was"], max_new_tokens=10, seed=3, temperature=0.7, top_k=50)
    assert pair["before"] == generate(mini(), "The movie was", max_new_tokens=10, seed=3, temperature=0.7, top_k=50)
    assert pair["after"] == generate(other, "The movie was", max_new_tokens=10, seed=3, temperature=0.7, top_k=50)
    assert pair["seed"] == 3 and pair["decoding"] == "sampling, temperature=0.7, top_k=50"


def test_models_with_other_tokens_are_not_compared():
    stranger = tiny()
    stranger.tokenizer.add_tokens(["stranger"])
    with pytest.raises(InputError, match="different tokens"):
        top_gains(mini(), stranger, "The")


def test_a_single_token_has_nothing_to_attend_to(other):
    with pytest.raises(InputError, match="single token"):
        attention_shift(mini(), other, "The")
