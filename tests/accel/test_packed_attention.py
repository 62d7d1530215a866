"""Attention by plain products, held to PyTorch's own, document by document."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from nbtools.accel.packed_attention import QUERIES, packed_attention
from tests.small_models import needs_a_compiler

DOCUMENTS = [[5, 1, 250, 44], [300], [230, 70]]  # lengths of the documents of each row, across the edges of query blocks


def example(key_heads: int = 4):
    torch.manual_seed(0)
    query = torch.randn(3, 4, 300, 8, requires_grad=True)
    key, value = (torch.randn(3, key_heads, 300, 8, requires_grad=True) for _ in range(2))
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in DOCUMENTS])
    return query, key, value, positions


def each_document_alone(query, key, value):
    rows = []
    for row, lengths in enumerate(DOCUMENTS):
        parts = [part[row].split(lengths, dim=1) for part in (query, key, value)]
        alone = [scaled_dot_product_attention(*one, is_causal=True, enable_gqa=True) for one in zip(*parts, strict=True)]
        rows.append(torch.cat(alone, dim=1))
    return torch.stack(rows).transpose(1, 2)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=[needs_a_compiler, pytest.mark.slow(10)])])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_each_document_is_attended_to_as_if_it_were_alone(compiled, key_heads):
    assert QUERIES < 300
    *parts, positions = example(key_heads)
    attend = torch.compile(packed_attention) if compiled else packed_attention
    mine, none = attend(torch.nn.Module(), *parts, None, position_ids=positions)
    theirs = each_document_alone(*parts)
    assert none is None
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    outer = torch.randn_like(theirs)
    for one, other in zip(torch.autograd.grad(mine, parts, outer), torch.autograd.grad(theirs, parts, outer), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_without_positions_a_row_is_one_document():
    query, key, value, _ = example()
    mine, _ = packed_attention(torch.nn.Module(), query, key, value)
    torch.testing.assert_close(mine, scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_positions_that_do_not_restart_would_let_documents_see_each_other():
    """What the other tests would show if the mask were missing."""
    query, key, value, positions = example()
    apart, _ = packed_attention(torch.nn.Module(), query, key, value, position_ids=positions)
    together, _ = packed_attention(torch.nn.Module(), query, key, value)
    assert (apart - together).abs().max() > 0.1


def test_dropout_drops_weights_and_keeps_their_mean():
    query, key, _, positions = example()
    ones = torch.ones(3, 4, 300, 8)
    torch.manual_seed(0)
    dropped, _ = packed_attention(torch.nn.Module(), query, key, ones, position_ids=positions, dropout=0.5)
    assert dropped.std() > 0.1 and dropped.mean().item() == pytest.approx(1, abs=0.05)
