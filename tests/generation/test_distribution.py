import itertools

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from nbtools.generation import next_logits, next_tokens
from tests.small_models import mini

PROMPTS = ["The movie was"]


VALUES = {"temperature": [None, 0.5, 1.7], "top_k": [None, 1, 40], "top_p": [None, 0.3, 0.95], "min_p": [None, 0.05]}


@pytest.mark.parametrize("combination", list(itertools.product(*VALUES.values())))
def test_the_distribution_is_what_transformers_itself_samples_from(combination):
    """Held to the processors that `generate` builds from the same values: kind, order and numbers."""
    lm, values = mini(), dict(zip(VALUES, combination, strict=True))
    settings = GenerationConfig(do_sample=True, **{name: value for name, value in values.items() if value is not None})
    settings.top_k = values["top_k"] or 0  # transformers' default of 50 is not what None means here
    own = lm.model._get_logits_processor(settings)
    logits = next_logits(lm, PROMPTS[0])[None]
    ids = torch.zeros(1, 1, dtype=torch.long)
    expected = own(ids, logits.clone()).double().softmax(-1)[0].numpy()
    ours = next_tokens(lm, PROMPTS[0], **values)
    assert ours.probabilities == pytest.approx(expected[ours.ids], abs=1e-12)


def test_the_distribution_covers_the_vocabulary_and_knows_its_entropy():
    found = next_tokens(mini(), "The movie was")
    assert len(found.ids) == len(mini().tokenizer) == len(set(found.ids.tolist()))
    assert found.probabilities.sum() == pytest.approx(1) and (np.diff(found.probabilities) <= 0).all()
    assert 0 < found.entropy < 13
    assert next_tokens(mini(), "The movie was", top_k=1).entropy == 0
    assert len(found.texts(3)) == 3


@pytest.mark.parametrize("values", [{}, {"temperature": 0.8}, {"temperature": 1.3, "top_k": 30, "top_p": 0.9}, {"do_sample": True}])
@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_the_distribution_knows_the_repetition_penalty(values, penalty):
    """It was accepted and ignored: the tokens of the prompt kept the probabilities that they had without it."""
    lm, prompt = mini(), "The movie was the best movie of the year, and the movie was"
    settings = GenerationConfig(do_sample=True, repetition_penalty=penalty, **{k: v for k, v in values.items() if k != "do_sample"})
    settings.top_k = values.get("top_k", 0)
    own, ids = lm.model._get_logits_processor(settings), torch.tensor([lm.tokenizer(prompt)["input_ids"]])
    expected = own(ids, next_logits(lm, prompt)[None].clone()).double().softmax(-1)[0].numpy()
    ours = next_tokens(lm, prompt, repetition_penalty=penalty, **values)
    assert ours.probabilities == pytest.approx(expected[ours.ids], abs=1e-12)
    plain = next_tokens(lm, prompt, **values)
    assert np.abs(ours.probabilities - plain.probabilities).max() > 1e-3
