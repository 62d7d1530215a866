import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from nbtools.generation import Sampler, SamplingParams, generate, sample_inverse_cdf
from nbtools.generation.beams import PromptRepetition
from nbtools.generation.engine import Continuation, decode
from tests.random_numbers import uniforms
from tests.small_models import mini, tiny


def test_padding_is_not_a_repetition_of_end_of_text():
    """Padding is end-of-text: penalized like a word of the prompt, a padded row would end later than the same prompt alone."""
    penalty, scores = PromptRepetition(1.5, [2, 0]), torch.full((2, 6), 3.0)
    ids = torch.tensor([[0, 0, 4, 5], [0, 3, 4, 5]])
    assert penalty(ids, scores).tolist() == [[3, 3, 3, 3, 2, 2], [2, 3, 3, 2, 2, 2]]
    assert penalty(ids, scores)[:1].equal(PromptRepetition(1.5, [0])(ids[:1, 2:], scores[:1]))


def test_the_draw_follows_the_probabilities():
    logits = torch.tensor([0.0, 1.0, -torch.inf, 2.0])
    drawn = [sample_inverse_cdf(logits, uniforms(seed, 1)[0]) for seed in range(4000)]
    shares = np.bincount(drawn, minlength=4) / 4000
    wanted = logits.softmax(-1).numpy()
    assert shares[2] == 0
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / 4000)


def test_a_decoding_describes_itself():
    assert SamplingParams().describe() == "greedy"
    assert SamplingParams(num_beams=4).describe() == "beam search, 4 beams"
    assert SamplingParams(temperature=0.7, top_k=50).describe() == "sampling, temperature=0.7, top_k=50"


@pytest.mark.parametrize("seed", range(30))
def test_sampling_is_the_inverse_transform_of_the_full_softmax(seed):
    """The formula written out, over the whole vocabulary and normalized."""
    stream = torch.Generator().manual_seed(1000 + seed)
    scores = torch.randn(20, 5000, generator=stream) * 4
    scores[torch.rand(scores.shape, generator=stream) < 0.3] = -torch.inf
    for row, uniform in zip(scores, uniforms(seed, 20), strict=True):
        cumulative = row.double().softmax(-1).cumsum(-1)
        expected = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
        assert sample_inverse_cdf(row, uniform) == min(int(expected), 4999)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"do_sample": True},
        {"temperature": 0.7, "top_k": 50, "top_p": 0.95},
        {"top_p": 0.8},
        {"top_k": 5},
        {"top_k": 10**6, "min_p": 0.02},
        {"temperature": 1.4, "min_p": 0.1},
        {"repetition_penalty": 1.4},
        {"repetition_penalty": 0.7, "temperature": 0.9, "top_k": 40},
    ],
)
def test_the_distribution_is_what_transformers_processors_leave(values):
    """Compared with the processors that `generate` builds from the same values, over the whole vocabulary."""
    params = SamplingParams(**values)
    known = {name: value for name, value in values.items() if name != "do_sample"}
    settings = GenerationConfig(do_sample=params.samples, **known)
    settings.top_k = values.get("top_k") or 0
    own = tiny().model._get_logits_processor(settings)
    sampler, stream = Sampler(params), torch.Generator().manual_seed(0)
    for uniform in uniforms(3, 20):
        logits = torch.randn(2, 3000, generator=stream) * 3
        if "top_p" not in values:  # which of equal ones it keeps depends on how they are sorted
            logits = logits.round(decimals=1)
        ids = torch.randint(3000, (2, 40), generator=stream)
        scores = own(ids, logits.clone())
        expected = [sample_inverse_cdf(row, uniform) if params.samples else int(row.argmax()) for row in scores]
        found = sampler(logits, ids.tolist())
        assert [each.token(uniform if params.samples else None) for each in found] == expected
        for row, distribution in zip(scores, found, strict=True):
            assert distribution.probabilities.numpy() == pytest.approx(row.double().softmax(-1).numpy(), abs=1e-12)


class FixedLogits:
    """An engine that gives every row the same next logits, for any input."""

    def __init__(self, logits):
        self.logits, self.asked = logits, []

    def prefill(self, rows, capacity):
        return self.logits.repeat(len(rows), 1)

    def step(self, rows, tokens):
        self.asked.append(rows)
        return self.logits.repeat(len(rows), 1)


def test_a_row_keeps_its_own_draws_when_others_have_ended_and_when_it_is_continued_later():
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    params = SamplingParams(do_sample=True)

    def tokens(seeds, limits, depth=0):
        engine = FixedLogits(logits)
        found = [[] for _ in seeds]
        for steps in decode(engine, Continuation([[1]] * len(seeds), limits, seeds, params, set(), depth)):
            for step in steps:
                found[step.row].append((step.token, step.uniform))
        return found, engine.asked

    (first, second, third), asked = tokens([5, 6, 7], [2, 9, 4])
    assert [len(row) for row in (first, second, third)] == [2, 9, 4] and asked == [[0, 1, 2], [1, 2], [1, 2], *[[1]] * 5]
    assert tokens([6], [9]) == ([second], [[0]] * 8)
    assert [uniform for _, uniform in second] == uniforms(6, 9)
    assert tokens([6], [3], depth=4)[0] == [second[4:7]]


def test_the_text_of_a_seed_is_that_of_earlier_versions():
    """Stored outputs of notebooks depend on it."""
    text = generate(mini(), "The movie was", max_new_tokens=25, seed=3, temperature=0.9, top_k=50, top_p=0.9)
    assert text.startswith("The movie was a little thin, but his eyes were almost different. The same thing happened, and he turned")
