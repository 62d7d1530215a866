import math

import numpy as np
import pytest
import torch

from nbtools import evaluation
from nbtools.errors import InputError
from nbtools.evaluation import WINDOW, Score, copied_spans, evaluate
from tests.small_models import mini, tiny


@pytest.fixture(params=["packed", "packed, by oneDNN", "padded"])
def way(request, monkeypatch) -> None:
    """How scores are computed, which must not change them."""
    monkeypatch.setattr(evaluation, "can_score", lambda model: request.param != "padded")
    monkeypatch.setattr(evaluation, "onednn_is_faster", lambda: request.param == "packed, by oneDNN")


TEXTS = ["A good film.", "Bad, slow and far too long.", "The cast is fine, the plot is not; I would still see it again. " * 3]


def reference_nll(lm, text):
    """Return the sum of -ln p over the text and its end-of-text token, from one forward pass, and the number of tokens."""
    ids = torch.tensor([[lm.document_id, *lm.tokenizer(text)["input_ids"], lm.document_id]])
    with torch.inference_mode():
        logits = lm.model(ids, use_cache=False).logits[0].double()
    return torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum").item(), ids.shape[1] - 1


@pytest.mark.usefixtures("way")
def test_the_score_is_the_sum_over_texts_scored_separately():
    lm = mini()
    sums, counts = zip(*(reference_nll(lm, text) for text in TEXTS), strict=True)
    score = evaluate(lm, TEXTS)
    assert score.tokens == sum(counts) and score.bytes == sum(len(text.encode()) for text in TEXTS)
    assert score.per_review == pytest.approx(sums, rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(sum(sums) / sum(counts)), rel=1e-5)
    assert score.bits_per_byte == pytest.approx(sum(sums) / math.log(2) / score.bytes, rel=1e-5)


@pytest.mark.usefixtures("way")
def test_the_score_of_one_text_equals_the_models_loss():
    lm = mini()
    ids = torch.tensor([[lm.document_id, *lm.tokenizer(TEXTS[1])["input_ids"], lm.document_id]])
    with torch.inference_mode():
        loss = lm.model(ids, labels=ids, use_cache=False).loss.item()
    score = evaluate(lm, TEXTS[1:2])
    assert score.nll / score.tokens == pytest.approx(loss, rel=1e-5)


def test_perplexity_is_not_the_mean_of_batch_means():
    score = evaluate(mini(), TEXTS)
    lengths = [len(mini().tokenizer(text)["input_ids"]) + 1 for text in TEXTS]
    mean_of_means = math.exp(np.mean(score.per_review / lengths))
    assert abs(mean_of_means - score.perplexity) > 1


@pytest.mark.usefixtures("way")
def test_the_score_of_a_text_does_not_depend_on_the_order_of_the_texts():
    lm = mini()
    score, backwards = evaluate(lm, TEXTS), evaluate(lm, TEXTS[::-1])
    assert score.per_review == pytest.approx(backwards.per_review[::-1], rel=1e-6)


@pytest.mark.usefixtures("way")
def test_a_long_text_is_scored_in_windows_and_each_token_once():
    lm = tiny(context=16)
    text = "The sea was calm and the sky was clear when the old ship came home to the harbour. " * 4
    ids = [lm.document_id, *lm.tokenizer(text)["input_ids"], lm.document_id]
    assert len(ids) > 3 * 16
    total, end, scored = 0.0, 16, 0
    with torch.inference_mode():
        logits = lm.model(torch.tensor([ids[:16]]), use_cache=False).logits[0]
        total += torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:16]), reduction="sum").item()
        scored += 15
        while end < len(ids):
            before, end = end, min(end + 8, len(ids))
            window = ids[end - 16 : end]
            logits = lm.model(torch.tensor([window]), use_cache=False).logits[0]
            new = end - before
            total += torch.nn.functional.cross_entropy(logits[-new - 1 : -1], torch.tensor(ids[before:end]), reduction="sum").item()
            scored += new
    score = evaluate(lm, [text])
    assert score.tokens == scored == len(ids) - 1
    assert score.nll == pytest.approx(total, rel=1e-5)


def test_the_score_does_not_depend_on_the_block_size_of_training(monkeypatch):
    """A perplexity that depended on block_size could be improved by choosing it; only the model and the texts may matter."""
    import inspect

    assert set(inspect.signature(evaluate).parameters) == {"lm", "texts", "label"} and WINDOW == 512


def test_evaluation_does_not_change_training_mode():
    lm = tiny()
    lm.model.train()
    evaluate(lm, ["A film."])
    assert lm.model.training


def score_of(nlls: np.ndarray, sizes: np.ndarray) -> Score:
    return Score(float(nlls.sum()), int(sizes.sum()), int(sizes.sum()), len(sizes), nlls, sizes)


def test_the_interval_of_bits_per_byte_holds_the_mean_of_all_in_95_of_100_samples():
    draws = np.random.default_rng(0)
    sizes = draws.integers(100, 3_000, 20_000)
    nlls = sizes * draws.normal(1.2, 0.3, len(sizes)) * math.log(2)
    truth = nlls.sum() / sizes.sum() / math.log(2)
    held = 0
    for _ in range(400):
        sample = draws.choice(len(sizes), 100)
        low, high = score_of(nlls[sample], sizes[sample]).interval
        held += low <= truth <= high
    assert 0.91 < held / 400 < 0.98


def test_the_change_between_two_models_is_surer_than_either_score():
    draws = np.random.default_rng(1)
    sizes = draws.integers(100, 3_000, 100)
    before = score_of(sizes * draws.normal(1.2, 0.3, 100), sizes)
    after = score_of(before.per_review - 0.1 * sizes, sizes)
    change, (low, high) = after.change_from(before)
    assert change == pytest.approx(-0.1 / math.log(2)) == pytest.approx(low) == pytest.approx(high)
    assert before.interval[1] - before.interval[0] > 0.05
    with pytest.raises(InputError, match="different texts"):
        after.change_from(score_of(before.per_review[1:], sizes[1:]))


def test_no_texts_or_only_empty_ones_are_refused():
    for texts in ([], [""]):
        with pytest.raises(InputError, match="no text"):
            evaluate(mini(), texts)


CORPUS = [
    "It was a dark and stormy night; the rain fell in torrents.",
    "Nothing here.",
    "The rain fell in torrents, and we went home at last.",
]


def test_a_copied_span_is_found_despite_case_and_punctuation():
    (span,) = copied_spans("He said: a DARK and stormy night, the rain fell in torrents; really", CORPUS)
    assert span.words == "a dark and stormy night the rain fell in torrents" and span.length == 10 and span.training_text == 0


def test_common_words_in_another_order_are_not_a_copy():
    assert copied_spans("the night was dark the rain in torrents fell and stormy it was a", CORPUS) == []


def test_of_two_overlapping_spans_the_longer_one_is_reported():
    (span,) = copied_spans("the rain fell in torrents, and we went home at last", CORPUS, words=4)
    assert span.training_text == 2 and span.length == 11
