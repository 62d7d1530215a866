"""Muon as PyTorch has it, and AdamW as PyTorch has it, in one optimizer that a scheduler and a checkpoint can handle."""

from __future__ import annotations

import copy

import pytest
import torch

from tools.mini.muon import Muon, orthogonalized


def parameters(*shapes: tuple[int, ...], seed: int = 0) -> list[torch.nn.Parameter]:
    draws = torch.Generator().manual_seed(seed)
    made = [torch.nn.Parameter(torch.randn(shape, generator=draws)) for shape in shapes]
    for weight in made:
        weight.grad = torch.randn(weight.shape, generator=draws)
    return made


@pytest.mark.parametrize("shape", [(24, 24), (24, 48), (48, 24)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(1, *shape)
    [found] = orthogonalized(matrix)
    u, _, v = torch.linalg.svd(matrix[0], full_matrices=False)
    inner = u.T @ found @ v.T  # diagonal where the singular vectors are kept
    assert torch.allclose(inner, torch.diag(inner.diag()), atol=1e-4)
    assert inner.diag().min() > 0.6 and inner.diag().max() < 1.25


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has a Muon of its own since 2.9")
@pytest.mark.parametrize("shape", [(32, 32), (64, 32), (32, 64)])
def test_a_matrix_moves_as_by_pytorchs_own_muon(shape: tuple[int, int]) -> None:
    [mine] = parameters(shape)
    theirs = torch.nn.Parameter(mine.detach().T.clone())  # nn.Linear keeps [outputs, inputs]
    ours = Muon([mine], parameters((4,)), matrix_lr=0.02, weight_decay=0.1)
    peer = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1)
    for step in range(5):
        mine.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        theirs.grad = mine.grad.T.clone()
        before = mine.detach().clone()
        ours.step()
        peer.step()
        moved = (mine - before).norm()
        # Theirs rounds to bf16 in every product, which has three digits.
        assert (mine - theirs.T).norm() < 0.03 * moved * (step + 1)


def test_query_key_and_value_are_three_matrices() -> None:
    [joined] = parameters((16, 48))
    parts = [torch.nn.Parameter(part.clone()) for part in joined.detach().chunk(3, dim=1)]
    for part, grad in zip(parts, joined.grad.chunk(3, dim=1), strict=True):  # type: ignore[union-attr]
        part.grad = grad.clone()
    Muon([joined], parameters((4,))).step()
    Muon(parts, parameters((4,))).step()
    assert torch.allclose(joined, torch.cat(list(parts), dim=1), atol=1e-6)


def test_the_rest_moves_as_by_adamw() -> None:
    mine = parameters((8, 5), (7,))
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in mine]
    ours = Muon(parameters((4, 4)), mine, lr=0.01)
    peer = torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=True)
    for step in range(3):
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(step))
            other.grad = one.grad.clone()
        ours.step()
        peer.step()
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_a_scheduler_scales_both_rates() -> None:
    optimizer = Muon(parameters((4, 4)), parameters((3,)), matrix_lr=0.02, lr=0.004)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.002]
    assert optimizer.adamw.param_groups[0]["lr"] == 0.002


def test_a_saved_state_goes_on_to_the_same_bits() -> None:
    first = (parameters((6, 6)), parameters((5,), seed=1))
    optimizer = Muon(*first)
    optimizer.step()
    second = copy.deepcopy(first)
    for one, other in zip((*first[0], *first[1]), (*second[0], *second[1]), strict=True):
        other.grad = one.grad.clone()  # type: ignore[union-attr]
    again = Muon(*second)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.step()
    again.step()
    assert torch.equal(first[0][0], second[0][0]) and torch.equal(first[1][0], second[1][0])
    fresh = Muon(*copy.deepcopy(second))
    assert not fresh.state, "a state is made by steps, not by construction"
