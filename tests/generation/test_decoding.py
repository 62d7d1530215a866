import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from nbtools.generation import PromptRepetition, SamplingParams, SeededDraw
from nbtools.generation.decoding import Chooser
from tests.models_at_hand import tiny


def test_padding_is_not_a_repetition_of_end_of_text():
    """Padding is end-of-text: penalized like a word of the prompt, a padded row would end later than the same prompt alone."""
    penalty, scores = PromptRepetition(1.5, [2, 0]), torch.full((2, 6), 3.0)
    ids = torch.tensor([[0, 0, 4, 5], [0, 3, 4, 5]])
    assert penalty(ids, scores).tolist() == [[3, 3, 3, 3, 2, 2], [2, 3, 3, 2, 2, 2]]
    assert penalty(ids, scores)[:1].equal(PromptRepetition(1.5, [0])(ids[:1, 2:], scores[:1]))


def test_the_draw_follows_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]]).repeat(4000, 1)
    drawn = SeededDraw(range(4000))(torch.empty(4000, 0, dtype=torch.long), logits).argmax(-1)
    shares = np.bincount(drawn.numpy(), minlength=4) / 4000
    wanted = logits[0].softmax(-1).numpy()
    assert shares[2] == 0
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / 4000)


def test_rows_of_a_draw_do_not_see_each_other():
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 50, generator=stream)
    none = torch.empty(3, 0, dtype=torch.long)
    together = SeededDraw([4, 5, 6])(none, logits).argmax(-1)
    alone = [SeededDraw([seed])(none[:1], row[None]).argmax(-1).item() for seed, row in zip((4, 5, 6), logits, strict=True)]
    assert together.tolist() == alone


def test_a_decoding_describes_itself():
    assert SamplingParams().describe() == "greedy"
    assert SamplingParams(num_beams=4).describe() == "beam search, 4 beams"
    assert SamplingParams(temperature=0.7, top_k=50).describe() == "sampling, temperature=0.7, top_k=50"


@pytest.mark.parametrize("seed", range(30))
def test_a_draw_is_the_inverse_transform_of_the_whole_softmax(seed):
    """The formula written out, over the whole vocabulary and normalized."""
    stream = torch.Generator().manual_seed(1000 + seed)
    scores = torch.randn(20, 5000, generator=stream) * 4
    scores[torch.rand(scores.shape, generator=stream) < 0.3] = -torch.inf
    draws, uniforms = SeededDraw([seed]), torch.Generator().manual_seed(seed)
    for row in scores:
        uniform = torch.rand((), generator=uniforms, dtype=torch.float64)
        cumulative = row.double().softmax(-1).cumsum(-1)
        expected = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
        assert draws.draw(0, row) == min(int(expected), 4999)


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
def test_the_token_chosen_is_what_transformers_processors_leave(values):
    """Held to the processors that `generate` builds from the same values, over the whole vocabulary, and then SeededDraw."""
    choice = SamplingParams(**values)
    known = {name: value for name, value in values.items() if name != "do_sample"}
    settings = GenerationConfig(do_sample=choice.samples, **known)
    settings.top_k = values.get("top_k") or 0
    own = tiny().model._get_logits_processor(settings)
    chooser, draws = Chooser(choice, [3, 4]), SeededDraw([3, 4])
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits = torch.randn(2, 3000, generator=stream) * 3
        if "top_p" not in values:  # which of equal ones it keeps depends on how they are sorted
            logits = logits.round(decimals=1)
        ids = torch.randint(3000, (2, 40), generator=stream)
        scores = own(ids, logits.clone())
        expected = (draws(ids, scores) if choice.samples else scores).argmax(-1).tolist()
        assert chooser(logits, [0, 1], ids.tolist()) == expected


def test_a_row_keeps_its_own_draws_when_others_have_ended():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    together, apart = (Chooser(SamplingParams(do_sample=True), [5, 6, 7]) for _ in range(2))
    first = together(logits, [0, 1, 2], [[]] * 3)
    assert [apart(logits[row : row + 1], [row], [[]])[0] for row in (2, 0, 1)] == [first[row] for row in (2, 0, 1)]
    assert together(logits[2:], [2], [[]]) == apart(logits[2:], [2], [[]])
