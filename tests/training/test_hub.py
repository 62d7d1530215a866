"""The card of a fine-tuned model, and what is checked before anything is shared."""

import json
import shutil

import pytest

from nbtools.data import load_reviews, load_texts, pack
from nbtools.errors import InputError, ModelError, RunError, UnreachableError
from nbtools.evaluation import evaluate
from nbtools.training import finetune, push_model, write_card, write_metrics
from tests.small_models import tiny

pytestmark = pytest.mark.xdist_group("sharing")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "run"
    texts = load_texts(load_reviews("package", 100).train["text"])
    lm = tiny()
    before = {"validation": evaluate(lm, texts.validation)}
    packed = pack(texts.train, lm, 64)
    settings = {"batch_size": 2, "max_steps": 4, "learning_rate": 1e-3, "dtype": "fp32"}
    tuned = finetune(lm, packed, output_dir=folder, reviews=texts, before=before, **settings)
    samples = [{"prompt": "The movie", "before": "The movie a", "after": "The movie was <b>odd</b>", "seed": 0, "decoding": "greedy"}]
    write_metrics(tuned, samples)
    return folder


def test_the_card_says_what_the_metrics_say(run):
    card = write_card(run, about="For the tests.", licence="mit").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert card.startswith("---\nlibrary_name: transformers") and "license: mit" in card and "For the tests." in card
    assert f"{metrics['after']['validation']['perplexity']:.1f}" in card and f"{metrics['tokens_seen']:,} tokens" in card
    assert r"**The movie** was \<b\>odd\</b\>" in card and "## Limits" in card, "what the model wrote is no markup of the card"


def test_a_card_that_somebody_wrote_in_is_kept(run):
    card = write_card(run, about="First.")
    card.write_text(card.read_text() + "and my own words")
    write_card(run, about="Second.")
    kept = sorted((run / "model").glob("README-*.md"))
    assert "Second." in card.read_text() and any("and my own words" in one.read_text() for one in kept)
    count = len(kept)
    write_card(run, about="Second.")
    assert len(list((run / "model").glob("README-*.md"))) == count


def test_a_missing_model_or_missing_metrics_are_reported(tmp_path):
    with pytest.raises(RunError, match="no metrics"):
        write_card(tmp_path)
    with pytest.raises(InputError, match="lacks config"):
        push_model(tmp_path, "someone/mine")


def test_a_link_to_a_private_file_is_not_uploaded(run, tmp_path):
    write_card(run)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "private.txt").write_text("mine")
    (tmp_path / "run" / "model" / "notes.txt").symlink_to(tmp_path / "private.txt")
    with pytest.raises(ModelError, match=r"notes\.txt in .* is a link to somewhere else"):
        push_model(tmp_path / "run", "someone/mine")


def test_an_unreachable_hub_is_reported(run):
    write_card(run)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        push_model(run, "someone/mine")
