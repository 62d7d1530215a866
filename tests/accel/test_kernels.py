"""The operations in C++ and by oneDNN, held to PyTorch's own."""

from __future__ import annotations

import platform

import pytest
import torch
from torch.nn import functional

from nbtools.accel import kernels, native

EDGES = torch.tensor([-1e4, -90.0, -20.0, -5.0, -1e-3, 0.0, 1e-3, 5.0, 20.0, 90.0, 1e4])


@pytest.fixture(autouse=True)
def compiled() -> None:
    if kernels.code() is None:
        pytest.skip("no C++ compiler is available")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_gradient_are_pytorchs(dtype):
    torch.manual_seed(0)
    x = torch.cat([EDGES, 3 * torch.randn(20_001)]).to(dtype).requires_grad_()
    outer = torch.randn(len(x)).to(dtype)
    mine, theirs = kernels.gelu(x), functional.gelu(x, approximate="tanh")
    precision = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2**-7, "atol": 2**-7}
    torch.testing.assert_close(mine, theirs, **precision)
    torch.testing.assert_close(torch.autograd.grad(mine, x, outer), torch.autograd.grad(theirs, x, outer), **precision)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_softmax_of_the_loss_is_pytorchs(dtype):
    torch.manual_seed(0)
    logits = (20 * torch.randn(7, 1003)).to(dtype)
    largest, total = kernels.logit_sums(logits)
    assert largest.equal(logits.float().amax(-1))
    log_total = largest + total.log()
    torch.testing.assert_close(log_total, logits.float().logsumexp(-1), rtol=1e-6, atol=1e-6)
    factor, expected = torch.rand(7), logits.float().softmax(-1)
    kernels.logit_scale_(logits, log_total, factor)
    torch.testing.assert_close(logits.float(), expected * factor[:, None], rtol=2**-7 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tiny_numbers_are_zero_because_products_with_subnormal_ones_are_slow(dtype):
    """On some processors the fp32 matrix product after the GELU took ten times as long."""
    x = torch.linspace(-40, 0, 4_001).to(dtype).requires_grad_()
    out = kernels.gelu(x)
    [slope] = torch.autograd.grad(out, x, torch.full_like(out, 1e-6))
    logits = torch.linspace(-200, 0, 4_001)[None].to(dtype)
    kernels.logit_scale_(logits, torch.zeros(1), torch.full((1,), 1e-6))
    smallest = torch.finfo(torch.float32).tiny
    for found in (out.detach(), slope, logits):
        sizes = found.float().abs()
        assert ((sizes == 0) | (sizes >= smallest)).all() and (sizes > 0).any() and (sizes == 0).any()


def test_a_logit_that_is_not_a_number_is_not_hidden():
    logits = torch.randn(2, 100)
    logits[1, 40] = torch.nan
    _, total = kernels.logit_sums(logits)
    assert total.isfinite().tolist() == [True, False]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_linear_layer_by_onednn_is_pytorchs(transposed, biased):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 24, requires_grad=True), torch.randn(24, 40, requires_grad=True)
    if not transposed:
        weight = weight.detach().t().contiguous().requires_grad_()
    bias = torch.randn(40, requires_grad=True) if biased else None
    theirs = x @ (weight if transposed else weight.t()) + (0 if bias is None else bias)
    mine = kernels.Linear.apply(x, weight, bias, transposed)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    parts, outer = [part for part in (x, weight, bias) if part is not None], torch.randn_like(theirs)
    for one, other in zip(torch.autograd.grad(mine, parts, outer), torch.autograd.grad(theirs, parts, outer), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow(20)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="these instruction sets are those of x86")
@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64"])
def test_processors_with_shorter_vectors_compute_the_same(monkeypatch, tmp_path, level):
    """AVX2 and SSE2, compiled for here: tiles have other sizes there."""
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "FLAGS", [flag.replace("-march=native", f"-march={level}") for flag in native.FLAGS])
    native.native_library.cache_clear()
    kernels.code.cache_clear()
    try:
        assert kernels.code() is not None
        torch.manual_seed(0)
        parts = [torch.randn(2, heads, 150, 40, requires_grad=True) for heads in (4, 2, 2)]
        documents = torch.tensor([[0, 0, 150], [1, 20, 150], [1, 0, 20]], dtype=torch.int32)
        mine = kernels.Attention.apply(*parts, documents, 0.2)
        rows = [functional.scaled_dot_product_attention(*(part[:1] for part in parts), is_causal=True, scale=0.2, enable_gqa=True)]
        for begin, end in ((0, 20), (20, 150)):
            alone = (part[1:, :, begin:end] for part in parts)
            rows.append(functional.scaled_dot_product_attention(*alone, is_causal=True, scale=0.2, enable_gqa=True))
        theirs = torch.cat([rows[0], torch.cat(rows[1:], dim=2)])
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
        outer = torch.randn_like(theirs)
        for one, other in zip(torch.autograd.grad(mine, parts, outer), torch.autograd.grad(theirs, parts, outer), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        logits = torch.randn(3, 1003)
        largest, total = kernels.logit_sums(logits)
        torch.testing.assert_close(largest + total.log(), logits.logsumexp(-1))
    finally:
        native.native_library.cache_clear()
        kernels.code.cache_clear()
