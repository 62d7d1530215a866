"""Attention over packed documents, held to PyTorch's own, document by document."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from nbtools.accel import kernels
from nbtools.accel.packed_attention import find_documents, packed_attention

DOCUMENTS = [[5, 1, 250, 44], [300], [230, 70]]  # lengths of the documents of each row; 64 queries are computed at a time


@pytest.fixture(params=["C++", "PyTorch"], autouse=True)
def way(request, monkeypatch) -> str:
    if request.param == "PyTorch":
        monkeypatch.setattr(kernels, "code", lambda: None)
    elif kernels.code() is None:
        pytest.skip("no C++ compiler is available")
    return request.param


def example(key_heads: int = 4, size: int = 8, dtype: torch.dtype = torch.float32):
    """Query, key and value as a model makes them: views of one tensor [batch, tokens, heads · size]."""
    torch.manual_seed(0)
    made = torch.randn(3, 300, (4 + 2 * key_heads) * size).to(dtype)
    parts = made.split([4 * size, key_heads * size, key_heads * size], dim=-1)
    query, key, value = (part.view(3, 300, -1, size).transpose(1, 2).requires_grad_() for part in parts)
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in DOCUMENTS])
    return query, key, value, find_documents(positions)


def attend(query, key, value, documents, **options):
    out, none = packed_attention(torch.nn.Module(), query, key, value, documents=documents, **options)
    assert none is None
    return out


def each_document_alone(query, key, value):
    rows = []
    for row, lengths in enumerate(DOCUMENTS):
        parts = [part[row].split(lengths, dim=1) for part in (query, key, value)]
        alone = [scaled_dot_product_attention(*one, is_causal=True, enable_gqa=True) for one in zip(*parts, strict=True)]
        rows.append(torch.cat(alone, dim=1))
    return torch.stack(rows).transpose(1, 2)


@pytest.mark.parametrize("size", [8, 32, 40])  # 32 fills the tiles of every processor, the others do not
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_each_document_is_attended_to_as_if_it_were_alone(key_heads, size):
    *parts, documents = example(key_heads, size)
    mine, theirs = attend(*parts, documents), each_document_alone(*parts)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    outer = torch.randn_like(theirs)
    for one, other in zip(torch.autograd.grad(mine, parts, outer), torch.autograd.grad(theirs, parts, outer), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_in_bf16_it_is_exact_up_to_the_rounding_of_its_results():
    *parts, documents = example(2, 32, torch.bfloat16)
    exact = [part.detach().float().requires_grad_() for part in parts]
    mine, theirs = attend(*parts, documents), each_document_alone(*exact)
    torch.testing.assert_close(mine.float(), theirs, rtol=2**-7, atol=2**-7)
    outer = torch.randn_like(theirs).bfloat16()
    grads = zip(torch.autograd.grad(mine, parts, outer), torch.autograd.grad(theirs, exact, outer.float()), strict=True)
    for one, other in grads:
        assert (one.float() - other).norm() < 0.01 * other.norm()


def test_scores_are_scaled_as_asked_for():
    *parts, documents = example()
    assert (attend(*parts, documents) - attend(*parts, documents, scaling=1.0)).abs().max() > 0.1
    torch.testing.assert_close(attend(*parts, documents, scaling=8**-0.5), attend(*parts, documents))


def test_documents_are_found_where_positions_restart_the_longest_first():
    positions = torch.tensor([[0, 1, 0, 1, 2], [0, 1, 2, 3, 4]])
    assert find_documents(positions).tolist() == [[1, 0, 5], [0, 2, 5], [0, 0, 2]]
    assert find_documents(positions + 7).tolist() == [[0, 0, 5], [1, 0, 5]]  # a row's first token always begins one


def test_positions_that_do_not_restart_would_let_documents_see_each_other():
    """What the other tests would show if documents were not kept apart."""
    *parts, documents = example()
    together = find_documents(torch.arange(300).expand(3, 300))
    assert (attend(*parts, documents) - attend(*parts, together)).abs().max() > 0.1


def test_dropout_drops_weights_and_keeps_their_mean():
    query, key, _, documents = example()
    torch.manual_seed(0)
    dropped = attend(query, key, torch.ones(3, 4, 300, 8), documents, dropout=0.5)
    assert dropped.std() > 0.1 and dropped.mean().item() == pytest.approx(1, abs=0.05)
