"""Wrong answers that once passed: each must fail, whatever the check says about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nbtools.exercises import EXERCISES, answer_of, judge
from nbtools.exercises.definition import function_source

WRONG = {
    "the maximum of all rows": ("01-softmax", "stable_softmax(scores)", """
        powers = (scores - scores.max()).exp()
        return powers / powers.sum(dim=-1, keepdim=True)
    """),
    "the row's mean": ("01-softmax", "stable_softmax(scores)", """
        powers = (scores - scores.mean(dim=-1, keepdim=True)).exp()
        return powers / powers.sum(dim=-1, keepdim=True)
    """),
    "PyTorch's softmax": ("01-softmax", "stable_softmax(scores)", "torch.softmax(scores, dim=-1)"),
    "softmax as a method": ("01-softmax", "stable_softmax(scores)", "scores.softmax(-1)"),
    "a mask of floats": ("01-mask", "window_mask(n, window)", """
        distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
        return ((distance >= 0) & (distance < window)).float()
    """),
    "documents as floats": ("06-apart", "may_attend(documents)", "(documents[:, None] == documents[None, :]).tril().float()"),
    "a tensor for an int": ("02-next", "next_token_id(logits)", "logits[0, -1].argmax()"),
    "ids changed in place": ("04-labels", "labels_for(ids, attention_mask)", """
        ids[attention_mask == 0] = -100
        return ids
    """),
    "one too many at p = 1": ("03-nucleus", "nucleus_size(probabilities, p)", """
        total, count = 0.0, 0
        for one in sorted(probabilities, reverse=True):
            if total >= p:
                break
            total += one
            count += 1
        return count + (total < p)
    """),
    "strictly above the threshold": (
        "03-min-p", "kept_by_min_p(probabilities, p)", "int((probabilities > p * probabilities.max()).sum())",
    ),
    "all spaces deleted": ("07-leak", "leaked(train, test)", """
        plain = lambda text: "".join(text.casefold().split())
        return sum(plain(text) in {plain(one) for one in train} for text in test)
    """),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_that_once_passed_fails(name: str) -> None:
    exercise, signature, body = WRONG[name]
    verdict = judge(exercise, answer_of(function_source(signature, body)))
    assert not verdict.passed and not verdict.unsolved and verdict.message, verdict


def test_the_solution_of_04_step_is_torchs_adam() -> None:
    scope: dict[str, Any] = {}
    exec(EXERCISES["04-step"].solution, scope)
    weight = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.05)
    found, mean, square = 0.7, 0.0, 0.0
    for step, gradient in enumerate((0.3, -1.2, 1e-7, 4.0), 1):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        found, mean, square = scope["adam_step"](found, gradient, mean, square, step, 0.05)
        assert found == pytest.approx(weight.item(), rel=1e-12)
