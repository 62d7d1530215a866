"""The tree of continuations: an untouched branch is `generate`'s text, and every branch draws with the same numbers by depth."""

from __future__ import annotations

import pytest
import torch

from nbtools.errors import InputError
from nbtools.generation import ROOT, SamplingParams, TextTree, generate, next_tokens, uniforms
from tests.small_models import mini

PROMPT = "The movie was"
SAMPLED = {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2}


@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0}, {"repetition_penalty": 1.3}, SAMPLED])
def test_an_untouched_branch_is_the_text_of_generate(decoding: dict[str, float]) -> None:
    tree = TextTree(mini(), PROMPT, 30)
    made = list(tree.grow(ROOT, SamplingParams(max_new_tokens=30, seed=7, **decoding)))  # type: ignore[arg-type]
    assert tree.text(made[-1].number) == generate(mini(), PROMPT, max_new_tokens=30, seed=7, **decoding)
    assert [one.depth for one in made] == list(range(len(made)))


def test_without_the_courses_decoder_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [one.token for one in TextTree(mini(), PROMPT).grow(ROOT, SamplingParams(max_new_tokens=12, seed=3, temperature=0.8))]
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    assert [one.token for one in TextTree(mini(), PROMPT).grow(ROOT, SamplingParams(max_new_tokens=12, seed=3, temperature=0.8))] == own


def test_step_by_step_is_all_at_once() -> None:
    whole, steps = TextTree(mini(), PROMPT), TextTree(mini(), PROMPT)
    made = [one.token for one in whole.grow(ROOT, SamplingParams(max_new_tokens=8, seed=1, temperature=1.0))]
    at = ROOT
    for _ in made:
        [one] = steps.grow(at, SamplingParams(max_new_tokens=1, seed=1, temperature=1.0))
        at = one.number
    assert [steps.nodes[one].token for one in steps.path(at)] == made


def test_a_nodes_figures_are_the_exact_distribution() -> None:
    tree = TextTree(mini(), PROMPT)
    [node] = tree.grow(ROOT, SamplingParams(max_new_tokens=1, temperature=0.7, top_k=50, top_p=0.95))
    exact = next_tokens(mini(), PROMPT, temperature=0.7, top_k=50, top_p=0.95)
    chances = dict(zip(exact.ids.tolist(), exact.probabilities.tolist(), strict=True))
    assert node.probability == pytest.approx(chances[node.token], rel=1e-4)
    assert node.uniform == uniforms(0, 1)[0]
    for token, _, share in node.alternatives:
        assert share == pytest.approx(chances[token], rel=1e-4)
    assert node.token in [token for token, _, _ in node.alternatives]


def test_a_uniform_number_falls_on_the_token_that_it_draws() -> None:
    tree = TextTree(mini(), PROMPT)
    for node in tree.grow(ROOT, SamplingParams(max_new_tokens=10, seed=5, temperature=1.1)):
        shares = tree.distribution(tree.ids(node.parent), SamplingParams(temperature=1.1)).probabilities
        edges = shares.cumsum(0)
        assert edges[node.token] - shares[node.token] <= node.uniform * edges[-1] + 1e-9 <= edges[node.token] + 2e-9  # type: ignore[operator]


def test_a_fork_is_chosen_by_hand_and_found_again() -> None:
    tree = TextTree(mini(), PROMPT)
    made = list(tree.grow(ROOT, SamplingParams(max_new_tokens=4, temperature=1.0)))
    other = next(token for token, _, _ in made[1].alternatives if token != made[1].token)
    fork = tree.fork(made[1].number, other, SamplingParams(temperature=1.0))
    assert (fork.parent, fork.depth, fork.token, fork.uniform) == (made[0].number, 1, other, None)
    assert tree.fork(made[1].number, other, SamplingParams()) is fork and tree.fork(fork.number, made[1].token, SamplingParams()) is made[1]
    [after] = tree.grow(fork.number, SamplingParams(max_new_tokens=1, temperature=1.0))
    assert after.uniform == made[2].uniform, "a number belongs to a depth, not to a branch"
    assert tree.path(after.number) == [made[0].number, fork.number, after.number]


def test_it_ends_at_end_of_text_and_where_the_context_is_full() -> None:
    lm = mini()
    tree = TextTree(lm, PROMPT)
    [first] = tree.grow(ROOT, SamplingParams(max_new_tokens=1))
    end = tree.fork(first.number, lm.document_id, SamplingParams())
    assert list(tree.grow(end.number, SamplingParams(max_new_tokens=5))) == [] and tree.text(end.number) == PROMPT
    long = TextTree(lm, "word " * (lm.context - 3))
    room = lm.context - len(long.prompt_ids)
    assert len(list(long.grow(ROOT, SamplingParams(max_new_tokens=50, temperature=1.5)))) <= room


def test_stop_is_asked_after_every_token() -> None:
    answers = iter([False, False, True])
    assert len(list(TextTree(mini(), PROMPT).grow(ROOT, SamplingParams(max_new_tokens=50, temperature=1.0), lambda: next(answers)))) == 3


def test_impossible_requests_are_refused() -> None:
    tree = TextTree(mini(), PROMPT)
    with pytest.raises(InputError, match="beam search"):
        next(tree.grow(ROOT, SamplingParams(max_new_tokens=1, num_beams=2)))
    with pytest.raises(InputError, match="no token number 5"):
        tree.path(5)


def test_numbers_of_a_seed_are_those_that_generate_draws_with() -> None:
    stream = torch.Generator().manual_seed(11)
    assert uniforms(11, 3) == [float(torch.rand((), generator=stream, dtype=torch.float64)) for _ in range(3)]
