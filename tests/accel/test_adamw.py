"""Our one-pass AdamW, held to PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch

from nbtools.accel import adamw, available
from nbtools.accel.adamw import MasterAdamW
from nbtools.system import keep_threads

KEYWORDS = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-6}


@pytest.fixture(params=["native", "PyTorch"], autouse=True)
def way(request, monkeypatch):
    """Both implementations are held to PyTorch's optimizer."""
    if request.param == "PyTorch":
        monkeypatch.setattr(adamw, "_native", lambda: None)
        monkeypatch.setattr(adamw, "PIECE", 16)  # so that the small weights below are several pieces
    elif not available("adamw"):
        pytest.skip("the C++ loop is for Linux with a compiler")
    return request.param


def groups(weights):
    return [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "weight_decay": 0.0}]


def example(seed: int = 0):
    torch.manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(13, 7)), torch.nn.Parameter(torch.randn(40))]


def grads(step: int, weights):
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(weight.shape, generator=generator) * 10 for weight in weights]


def test_in_fp32_twenty_clipped_steps_are_pytorchs():
    mine, theirs = example(), example()
    own, other = MasterAdamW(groups(mine), {}, **KEYWORDS), torch.optim.AdamW(groups(theirs), **KEYWORDS)
    for step in range(20):
        for weights in (mine, theirs):
            for weight, grad in zip(weights, grads(step, weights), strict=True):
                weight.grad = grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        assert own.clip(1.0).item() == pytest.approx(norm.item(), rel=1e-5)
        own.step()
        other.step()
    for one, another in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-5, atol=1e-6)


def halved(weights):
    """The first weight becomes a bf16 copy of an fp32 master, as the fast path has it."""
    masters = {weights[0]: weights[0].data}
    weights[0].data = weights[0].data.bfloat16()
    return masters


def test_masters_keep_what_bf16_would_round_away():
    weights = example()
    masters = halved(weights)
    before = masters[weights[0]].clone()
    optimizer = MasterAdamW([{"params": weights}], masters, lr=1e-5)
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    moved = before - masters[weights[0]]
    torch.testing.assert_close(moved, torch.full_like(moved, 3e-5), rtol=0.02, atol=1e-6)
    assert weights[0].dtype == torch.bfloat16 and weights[0].equal(masters[weights[0]].bfloat16())


def test_with_bf16_gradients_it_stays_close_to_fp32():
    mine, theirs = example(), example()
    masters = halved(mine)
    own, other = MasterAdamW(groups(mine), masters, **KEYWORDS), torch.optim.AdamW(groups(theirs), **KEYWORDS)
    start = theirs[0].detach().clone()
    for step in range(50):
        for weights in (mine, theirs):
            for weight, grad in zip(weights, grads(step, weights), strict=True):
                weight.grad = grad.to(weight.dtype)
        own.step()
        other.step()
    distance = (masters[mine[0]] - theirs[0]).norm() / (theirs[0] - start).norm()
    assert distance < 0.01  # of the way that the weights went


def test_its_state_saves_and_loads_to_the_bit(tmp_path):
    weights = example()
    masters = halved(weights)
    optimizer = MasterAdamW(groups(weights), masters, **KEYWORDS)

    def step(optimizer, weights, number):
        for weight, grad in zip(weights, grads(number, weights), strict=True):
            weight.grad = grad.to(weight.dtype)
        optimizer.step()

    for number in range(3):
        step(optimizer, weights, number)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    copies = copy.deepcopy(weights)
    copied = {copies[0]: masters[weights[0]].clone()}
    resumed = MasterAdamW(groups(copies), copied, **KEYWORDS)
    resumed.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    step(optimizer, weights, 3)
    step(resumed, copies, 3)
    assert masters[weights[0]].equal(copied[copies[0]]) and all(one.equal(two) for one, two in zip(weights, copies, strict=True))
    assert resumed.state[copies[0]]["exp_avg_sq"].dtype == torch.float32


@pytest.mark.parametrize("way", ["native"], indirect=True)
def test_the_number_of_threads_changes_no_bit():
    """Sums are taken in pieces of one size, whichever thread takes them."""

    def trained(threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(300, 700)), torch.nn.Parameter(torch.randn(40))]
        optimizer = MasterAdamW([{"params": weights}], halved(weights), **KEYWORDS)
        for step in range(3):
            for weight, grad in zip(weights, grads(step, weights), strict=True):
                weight.grad = grad.to(weight.dtype)
            norm = optimizer.clip(1.0)
            optimizer.step()
        return norm, *weights

    with keep_threads():
        assert all(one.equal(other) for one, other in zip(trained(1), trained(2), strict=True))


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="closure"):
        MasterAdamW([{"params": example()}], {}).step(lambda: 1.0)
