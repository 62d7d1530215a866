"""The card of a fine-tuned model, and what is checked before anything is shared."""

import json

import pytest

from nbtools.data import load_reviews, load_texts, pack
from nbtools.errors import InputError, RunError, UnreachableError
from nbtools.evaluation import evaluate
from nbtools.training import finetune, push_model, write_card, write_metrics
from tests.models_at_hand import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "run"
    texts = load_texts(load_reviews("package", 100).train["text"])
    lm = tiny()
    before = {"validation": evaluate(lm, texts.validation)}
    packed = pack(texts.train, lm, 64)
    tuned = finetune(lm, packed, output_dir=folder, batch_size=2, max_steps=4, learning_rate=1e-3, dtype="fp32")
    samples = [{"prompt": "The movie", "before": "The movie a", "after": "The movie was <b>odd</b>", "seed": 0, "decoding": "greedy"}]
    after = {"validation": evaluate(tuned.lm, texts.validation)}
    write_metrics(tuned, before=before, after=after, reviews=texts, packed=packed, samples=samples)
    return folder


def test_the_card_says_what_the_metrics_say(run):
    card = write_card(run, about="For the tests.", licence="mit").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert card.startswith("---\nlibrary_name: transformers") and "license: mit" in card and "For the tests." in card
    assert f"{metrics['after']['validation']['perplexity']:.1f}" in card and f"{metrics['tokens_seen']:,} tokens" in card
    assert "**The movie** was <b>odd</b>" in card and "## Limits" in card


def test_a_card_that_somebody_wrote_in_is_kept(run):
    card = write_card(run, about="First.")
    card.write_text(card.read_text() + "and my own words")
    write_card(run, about="Second.")
    kept = sorted((run / "model").glob("README-*.md"))
    assert "Second." in card.read_text() and any("and my own words" in one.read_text() for one in kept)
    count = len(kept)
    write_card(run, about="Second.")
    assert len(list((run / "model").glob("README-*.md"))) == count


def test_without_metrics_or_model_it_is_told(tmp_path):
    with pytest.raises(RunError, match="no metrics"):
        write_card(tmp_path)
    with pytest.raises(InputError, match="lacks config"):
        push_model(tmp_path, "someone/mine")


def test_without_the_hub_it_is_told(run):
    write_card(run)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        push_model(run, "someone/mine")
