"""Head scores on models whose heads are known because they were built by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nbtools.attention import score_heads
from nbtools.errors import InputError
from tests.small_models import mini, tiny


def test_scores_are_shares_and_the_same_for_the_same_seed() -> None:
    found = score_heads(mini())
    for scores in (found.previous, found.induction, found.first):
        assert scores.shape == (6, 8) and (scores >= 0).all() and (scores <= 1).all()
    assert np.array_equal(found.previous, score_heads(mini()).previous)


def test_each_score_reads_its_own_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights made by hand: head 0 reads the token before, head 1 the token after the earlier copy, head 2 the first, head 3 itself."""
    import torch

    lm, length = tiny(), 6
    count = 2 * length
    weights = torch.zeros(2, 1, 4, count, count)
    for row in range(count):
        weights[:, 0, 0, row, max(0, row - 1)] = 1
        weights[:, 0, 1, row, max(0, row - length + 1)] = 1
        weights[:, 0, 2, row, 0] = 1
        weights[:, 0, 3, row, row] = 1

    class Given:
        attentions = tuple(weights)

    monkeypatch.setattr(type(lm.model), "forward", lambda self, *a, **k: Given())
    found = score_heads(lm, length=length, rows=1)
    assert found.previous.tolist() == [[1, 0, 0, 0]] * 2
    assert found.induction.tolist() == [[0, 1, 0, 0]] * 2
    assert found.first.tolist() == [[0, 0, 1, 0]] * 2


def test_a_sequence_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        score_heads(tiny(), length=40)
