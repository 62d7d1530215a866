"""The fused output layer and loss, held to the library's own in fp32, and in bf16 to what rounding allows."""

from __future__ import annotations

import pytest
import torch
from transformers.loss.loss_utils import ForCausalLMLoss

from nbtools.accel import kernels, linear_loss
from nbtools.accel.linear_loss import IGNORED, SharedGradient, linear_cross_entropy, shared_embedding, token_losses

WAYS = ["plain", "onednn", "without C++"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch) -> dict[str, bool]:
    """The arguments of a way to compute the loss."""
    if request.param == "without C++":
        monkeypatch.setattr(kernels, "code", lambda: None)
    return {"onednn": request.param == "onednn"}


def example(tokens: int = 37, width: int = 16, vocabulary: int = 301):
    """Hidden states, an output matrix and labels of which some are left out."""
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = (3 * torch.randn(vocabulary, width)).requires_grad_()
    labels = torch.randint(vocabulary, (tokens,))
    labels[[0, 5, tokens - 1]] = IGNORED
    return hidden, weight, labels


def gradients(loss, *parts):
    return torch.autograd.grad(loss, parts)


@pytest.mark.parametrize("chunk", [64, 100, 8192])
@pytest.mark.parametrize("count", [None, 99])
def test_loss_and_gradients_are_the_librarys(monkeypatch, way, chunk, count):
    monkeypatch.setattr(linear_loss, "CHUNK", chunk)
    monkeypatch.setattr(linear_loss, "LOGITS", 301 * 4 * 20)  # 37 tokens are two pieces
    hidden, weight, labels = example()
    expected = ForCausalLMLoss(hidden @ weight.T, None, len(weight), count and torch.tensor(count), shift_labels=labels)
    loss = linear_cross_entropy(hidden, weight, labels, count, **way)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for mine, theirs in zip(gradients(loss, hidden, weight), gradients(expected, hidden, weight), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_in_bf16_it_is_as_close_to_the_exact_value_as_the_library(way):
    if way.get("onednn") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN multiplies in bf16 only on processors with AVX-512 or newer")
    hidden, weight, labels = example(tokens=64, width=64, vocabulary=1000)
    truth = ForCausalLMLoss(hidden @ weight.T, None, len(weight), shift_labels=labels)
    low_hidden, low_weight = (part.detach().bfloat16().requires_grad_() for part in (hidden, weight))
    theirs = ForCausalLMLoss(low_hidden @ low_weight.T, None, len(weight), shift_labels=labels)
    mine = linear_cross_entropy(low_hidden, low_weight, labels, **way)
    assert abs(mine - truth) <= 1.5 * abs(theirs - truth) + 1e-3

    def distances(loss, *parts):
        exact = gradients(truth, hidden, weight)
        return [float((found.float() - real).norm() / real.norm()) for found, real in zip(gradients(loss, *parts), exact, strict=True)]

    truth = ForCausalLMLoss(hidden @ weight.T, None, len(weight), shift_labels=labels)
    lost = distances(mine, low_hidden, low_weight)
    truth = ForCausalLMLoss(hidden @ weight.T, None, len(weight), shift_labels=labels)
    for ours, librarys in zip(lost, distances(theirs, low_hidden, low_weight), strict=True):
        assert ours <= 1.5 * librarys + 1e-3


def test_the_losses_of_single_tokens_are_the_librarys(monkeypatch, way):
    monkeypatch.setattr(linear_loss, "CHUNK", 100)
    monkeypatch.setattr(linear_loss, "LOGITS", 301 * 4 * 20)
    hidden, weight, labels = example()
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="none", ignore_index=IGNORED)
        torch.testing.assert_close(token_losses(hidden, weight, labels, **way), expected, rtol=1e-5, atol=1e-5)


def test_a_certain_label_gets_its_own_small_gradient_and_not_the_noise_of_rounding():
    hidden = torch.ones(2, 1, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[7.0], [0.0]], dtype=torch.bfloat16, requires_grad=True)
    (grad,) = gradients(linear_cross_entropy(hidden, weight, torch.tensor([0, 0])), weight)
    small = -1 / (1 + torch.tensor(7.0).exp())  # p - 1, three times smaller than bf16 can tell p from 1
    assert grad[0].item() == pytest.approx(small.item(), rel=0.01)


def test_a_loss_that_is_scaled_scales_its_gradients():
    hidden, weight, labels = example()
    once = gradients(linear_cross_entropy(hidden, weight, labels), hidden, weight)
    twice = gradients(2 * linear_cross_entropy(hidden, weight, labels), hidden, weight)
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(2 * one, two)


def test_an_embedding_that_shares_the_matrix_adds_its_rows_to_one_gradient():
    _, weight, labels = example()
    ids = torch.randint(len(weight), (37,))
    ids[:20] = 7  # a token that comes often
    expected = ForCausalLMLoss(torch.tanh(weight[ids]) @ weight.T, None, len(weight), shift_labels=labels)
    (theirs,) = gradients(expected, weight)
    shared = SharedGradient()
    hidden = torch.tanh(shared_embedding(ids, weight, shared))
    linear_cross_entropy(hidden, weight, labels, gradient=shared).backward()
    torch.testing.assert_close(weight.grad, theirs, rtol=1e-5, atol=1e-7)
    assert shared.tensor is None
