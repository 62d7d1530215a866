"""A continuation token by token is `generate`'s text, and its figures are those of the exact distribution."""

from __future__ import annotations

import itertools

import pytest
import torch

from nbtools.errors import InputError
from nbtools.generation import NewToken, Sampler, SamplingParams, continue_ids, generate, logits_after, next_tokens
from tests.random_numbers import uniforms
from tests.small_models import mini

PROMPT = "The movie was"
SAMPLED = {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2}


def prompt_ids() -> list[int]:
    return list(mini().tokenizer(PROMPT)["input_ids"])


def continued(ids: list[int] | None = None, generated: int = 0, **values: float) -> list[NewToken]:
    return list(continue_ids(mini(), ids or prompt_ids(), SamplingParams(**values), generated=generated))  # type: ignore[arg-type]


@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0}, {"repetition_penalty": 1.3}, SAMPLED])
def test_it_is_the_text_of_generate(decoding: dict[str, float]) -> None:
    text = PROMPT + "".join(new.text for new in continued(max_new_tokens=30, seed=7, **decoding))
    assert text == generate(mini(), PROMPT, max_new_tokens=30, seed=7, **decoding)


def test_without_the_courses_decoder_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [new.token for new in continued(max_new_tokens=12, seed=3, temperature=0.8)]
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    assert [new.token for new in continued(max_new_tokens=12, seed=3, temperature=0.8)] == own


def test_step_by_step_is_all_at_once() -> None:
    whole = [new.token for new in continued(max_new_tokens=8, seed=1, temperature=1.0)]
    steps: list[int] = []
    for _ in whole:
        [new] = continued(prompt_ids() + steps, len(steps), max_new_tokens=1, seed=1, temperature=1.0)
        steps.append(new.token)
    assert steps == whole


def test_figures_are_those_of_the_exact_distribution() -> None:
    [new] = continued(max_new_tokens=1, temperature=0.7, top_k=50, top_p=0.95)
    exact = next_tokens(mini(), PROMPT, temperature=0.7, top_k=50, top_p=0.95)
    chances = dict(zip(exact.ids.tolist(), exact.probabilities.tolist(), strict=True))
    assert new.probability == pytest.approx(chances[new.token], rel=1e-4)
    assert new.uniform == uniforms(0, 1)[0]
    for token, _, share in new.alternatives:
        assert share == pytest.approx(chances[token], rel=1e-4)
    assert new.token in [token for token, _, _ in new.alternatives]


def test_a_uniform_number_falls_on_the_token_that_it_draws() -> None:
    ids = prompt_ids()
    for new in continued(max_new_tokens=10, seed=5, temperature=1.1):
        [found] = Sampler(SamplingParams(temperature=1.1))(logits_after(mini(), ids)[None], [ids])
        edges = found.probabilities.cumsum(0)
        assert new.uniform is not None
        assert edges[new.token] - found.probabilities[new.token] <= new.uniform * edges[-1] + 1e-9 <= edges[new.token] + 2e-9
        ids.append(new.token)


def test_a_number_belongs_to_a_depth() -> None:
    """Another token in the place of one that was drawn changes no later number."""
    first = continued(max_new_tokens=4, temperature=1.0)
    other = next(token for token, _, _ in first[1].alternatives if token != first[1].token)
    branch = continued([*prompt_ids(), first[0].token, other], 2, max_new_tokens=1, temperature=1.0)
    assert branch[0].uniform == first[2].uniform


def test_it_ends_at_end_of_text_and_where_the_context_is_full() -> None:
    lm = mini()
    assert continued([*prompt_ids(), lm.document_id], 1, max_new_tokens=5) == []
    assert len(continued([lm.document_id], 0, max_new_tokens=1)) == 1, "where a prompt ends with it, it does not end the text"
    long = lm.tokenizer("word " * lm.context)["input_ids"][: lm.context - 3]
    assert 0 < len(continued(long, max_new_tokens=50, temperature=1.5)) <= 3
    assert continued([*long, 1, 2, 3], max_new_tokens=50) == []


def test_stop_is_asked_after_every_token() -> None:
    answers = iter([False, False, True])
    params = SamplingParams(max_new_tokens=50, temperature=1.0)
    assert len(list(continue_ids(mini(), prompt_ids(), params, should_stop=lambda: next(answers)))) == 3


def test_beams_are_refused() -> None:
    with pytest.raises(InputError, match="beam search"):
        continued(max_new_tokens=1, num_beams=2)


def test_numbers_of_a_seed_are_those_that_generate_draws_with() -> None:
    stream = torch.Generator().manual_seed(11)
    assert uniforms(11, 3) == [float(torch.rand((), generator=stream, dtype=torch.float64)) for _ in range(3)]
    assert all(earlier != later for earlier, later in itertools.pairwise(uniforms(11, 50)))
