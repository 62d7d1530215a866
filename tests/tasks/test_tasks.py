"""Classification, rewriting, instructions and scores, each against what can be computed otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nbtools.data import load_reviews
from nbtools.errors import InputError, MachineError
from nbtools.models import load_model
from nbtools.plots.tasks import draw_accuracies, draw_confusion, draw_looking
from nbtools.profiles import PROFILES
from nbtools.tasks import (
    Classified,
    instruct,
    last_tokens,
    make_dates,
    score_texts,
    train_classifier,
    train_rewriter,
    wilson_interval,
    zero_shot,
)
from nbtools.tasks.rewriting import FORMS, decode, encode
from tests.small_models import tiny


@pytest.fixture(scope="module")
def reviews():
    return load_reviews("package", 240)


def test_wilsons_interval_is_scipys():
    from scipy.stats import binomtest

    for right, total in ((0, 10), (5, 10), (10, 10), (425, 500), (1, 3)):
        theirs = binomtest(right, total).proportion_ci(0.95, "wilson")
        assert wilson_interval(right, total) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
    with pytest.raises(InputError):
        wilson_interval(3, 2)


def test_predictions_of_a_classifier_are_counted():
    found = Classified("it", np.array([0.9, 0.2, 0.6, 0.4, 0.99]), np.array([1, 0, 0, 1, 0]))
    assert found.accuracy == 0.4 and found.confusion().tolist() == [[1, 2], [1, 1]]
    assert found.worst(2)[0] == 4 and len(found.worst(9)) == 3
    assert "40.0% right" in repr(found)
    assert "confusion of it" in draw_confusion(found).alt and "it: 40.0%" in draw_accuracies([found]).alt


@pytest.mark.slow(20)
def test_a_head_learns_to_tell_and_the_language_model_stays_as_it_was(reviews):
    lm = load_model("mini", verbose=False)
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    train, validation = reviews.train.select(range(32)), reviews.validation
    found = train_classifier(lm, train, validation, name="it", epochs=6, learning_rate=1e-3, max_tokens=48)
    assert found.classify(train).accuracy > 0.75  # learned by heart; by guessing 0.5
    assert found.classify(validation).accuracy == found.history[-1]["validation_accuracy"] and len(found.history) == 6
    assert found.classify(validation).name == "it"
    assert all(torch.equal(before[name], weight) for name, weight in lm.model.state_dict().items())


def test_the_last_tokens_are_what_a_classifier_reads(reviews):
    lm = load_model("mini", verbose=False)
    part = reviews.validation.select(range(4))
    cut = last_tokens(part, lm, 24)
    assert cut["label"] == part["label"]
    for short, text in zip(cut["text"], part["text"], strict=True):
        assert text.endswith(short.lstrip()) and len(lm.tokenizer(short)["input_ids"]) <= 23 < len(lm.tokenizer(text)["input_ids"])


def test_the_answer_is_read_at_the_last_token_in_any_batch(reviews):
    """Padding is end-of-text, and transformers finds the last token by it: alone and in a batch must agree."""
    found = train_classifier("mini", reviews.train.select(range(8)), reviews.validation.select(range(4)), epochs=1, max_tokens=24)
    part = reviews.validation.select(range(6))
    together = found.classify(part).probabilities
    alone = [found.classify(part.select([place])).probabilities[0] for place in range(6)]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 0}, {"max_tokens": 1}, {"batch_size": 10_000}])
def test_impossible_training_is_refused(reviews, wrong):
    with pytest.raises(InputError):
        train_classifier("mini", reviews.train, reviews.validation, **wrong)


def test_a_classifier_that_memory_cannot_hold_is_refused_before_it_is_made(reviews, monkeypatch):
    monkeypatch.setattr("nbtools.tasks.classification.free_memory", lambda: 16 * PROFILES["mini"].parameters - 1)
    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_config", lambda *_: pytest.fail("it was made"))
    with pytest.raises(MachineError, match=r"classifier on mini needs .* GB of memory, and this process can have"):
        train_classifier("mini", reviews.train, reviews.validation)


def test_asking_is_the_likelihood_of_the_two_words(reviews):
    lm = tiny()
    part = reviews.validation.select(range(3))
    raw, calibrated = zero_shot(lm, part, max_tokens=40)
    text = part["text"][0]
    asked = lm.tokenizer("\n\nAll in all, the movie was", add_special_tokens=False)["input_ids"]
    words = [lm.tokenizer(word, add_special_tokens=False)["input_ids"] for word in (" terrible", " great")]
    room = 40 - len(asked) - max(map(len, words))
    begun = [0, *lm.tokenizer(text, add_special_tokens=False)["input_ids"][-room:], *asked]
    sums = []
    for word in words:
        total, ids = 0.0, list(begun)
        for token in word:
            with torch.inference_mode():
                total += lm.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token].item()
            ids.append(token)
        sums.append(total)
    assert raw.probabilities[0] == pytest.approx(1 / (1 + math.exp(sums[0] - sums[1])), abs=1e-4)
    shift = np.log(raw.probabilities / (1 - raw.probabilities)) - np.log(calibrated.probabilities / (1 - calibrated.probabilities))
    assert shift == pytest.approx([shift[0]] * 3, abs=1e-6)


def test_dates_are_different_and_right():
    import datetime

    pairs = make_dates(2_000, seed=1)
    assert len({target for _, target in pairs}) == 2_000
    for source, target in pairs:
        date = datetime.date.fromisoformat(target)
        assert str(date.year) in source and str(date.day) in source.replace(",", " ").replace("0", "0")
    assert dict(pairs) == dict(make_dates(2_000, seed=1)) != dict(make_dates(2_000, seed=2))
    assert any("th of" in source or "st of" in source for source, _ in pairs) and len(FORMS) == 5
    with pytest.raises(InputError):
        make_dates(10**6)


def test_letters_become_ids_and_come_back():
    ids, mask = encode(["2021-03-14", "a"])
    assert decode([0, *ids[0].tolist()]) == "2021-03-14" and mask.sum(1).tolist() == [11, 2]
    for wrong in ("", "x" * 41, "é"):
        with pytest.raises(InputError):
            encode([wrong])


@pytest.mark.parametrize(
    ("steps", "right"), [pytest.param(150, 0.04, marks=pytest.mark.slow(40)), pytest.param(500, 0.8, marks=pytest.mark.long)]
)
def test_an_encoder_decoder_learns_to_rewrite_dates_that_it_never_saw(steps, right):
    pairs = make_dates(3_100)
    rewriter = train_rewriter(pairs[:3_000], pairs[3_000:], max_steps=steps)
    assert rewriter.history[-1]["right"] > right > rewriter.history[0]["right"]
    source, target = pairs[3_000]
    weights = rewriter.attention(source, target)
    assert weights.shape == (len(target), len(source)) and (weights.sum(1) <= 1 + 1e-5).all()
    assert "cross-attention while writing" in draw_looking(weights, source, target).alt


def test_a_model_without_a_chat_template_is_refused():
    with pytest.raises(InputError, match="no chat template"):
        instruct(tiny(), "Summarize.")


def test_an_instruction_is_put_into_the_models_own_form():
    lm = tiny(context=64)
    lm.tokenizer.chat_template = "{% for one in messages %}[{{ one.role }}] {{ one.content }}{% endfor %}[answer]"
    answer = instruct(lm, "Hello there", max_new_tokens=5)
    assert isinstance(answer, str) and "[answer]" not in answer
    with pytest.raises(InputError, match="too many"):
        instruct(lm, "word " * 200)


def test_scores_are_those_of_their_definitions():
    from collections import Counter

    text, reference = "the cat sat on the mat", "the cat is on the red mat"
    found = score_texts([text], [reference])
    shared = sum((Counter(text.split()) & Counter(reference.split())).values())
    assert found.rouge1 == pytest.approx(100 * 2 * shared / (len(text.split()) + len(reference.split())))
    same = score_texts([reference], [reference])
    assert (same.rouge1, same.rouge2, same.rougeL, same.exact) == (100, 100, 100, 100) and same.bleu == pytest.approx(100)
    assert score_texts(["nothing shared here"], [reference]).rouge1 == 0
    with pytest.raises(InputError):
        score_texts(["a"], [])
