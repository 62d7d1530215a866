"""Muon for the matrices of a model, AdamW for the rest: what pretraining uses.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) takes the momentum of a matrix and makes all of its singular
values about 1, by a few Newton-Schulz steps, before it is subtracted. PyTorch's own (since 2.9) makes those steps in bf16 always, which
on a processor without bf16 units takes a hundred times as long as in fp32; so here is one that makes them in the format it is given,
for all matrices of a shape at once, and a test holds it to PyTorch's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that Jordan et al. iterate
STEPS = 5
TINY = 1e-7  # the least norm that is divided by


def orthogonalized(matrices: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """`matrices` with their singular values pushed into about 0.7 to 1.2, their singular vectors kept.

    matrices  [number, rows, columns]; dtype: of the products. Returns the same shape, in `dtype`.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.transpose(1, 2) if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=TINY)
    for _ in range(STEPS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum over weights of two dimensions, AdamW (Loshchilov and Hutter, 2019) over all others.

    matrices       fp32 weights [inputs, outputs], as GPT-2's Conv1D keeps them; one of `parts` times as many outputs as inputs is
                   `parts` matrices side by side (query, key and value)
    others         embeddings, norms, biases
    matrix_lr, lr  learning rates of the two; a matrix moves by matrix_lr · max(1, outputs / inputs)^½ in each singular direction
    weight_decay   of the matrices, decoupled; the others have none
    dtype          of the Newton-Schulz steps

    A scheduler scales both rates alike. States save and load.
    """

    def __init__(
        self,
        matrices: Sequence[torch.nn.Parameter],
        others: Sequence[torch.nn.Parameter],
        *,
        matrix_lr: float = 0.02,
        lr: float = 3e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        parts: int = 3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        groups = [
            {"params": list(matrices), "lr": matrix_lr, "weight_decay": weight_decay, "momentum": momentum},
            {"params": list(others), "lr": lr, "weight_decay": 0.0, "betas": betas, "eps": 1e-10},
        ]
        super().__init__(groups, {})
        self.parts, self.dtype = parts, dtype
        self.adamw = torch.optim.AdamW([self.param_groups[1]], fused=True)
        self.param_groups[1] = self.adamw.param_groups[0]  # with every value that AdamW looks for
        self._share()

    def _share(self) -> None:
        """AdamW works on the group and the states that this optimizer holds, so that a scheduler and a checkpoint see them."""
        self.adamw.param_groups = self.param_groups[1:]
        self.adamw.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("a closure is not supported: gradients are computed before the step")
        self.adamw.step()
        group = self.param_groups[0]
        alike: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)  # by shape: weight and update
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            moved = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
            update = weight.grad.lerp(moved, group["momentum"])  # Nesterov's look ahead
            count = self.parts if weight.shape[1] == self.parts * weight.shape[0] else 1
            for part, change in zip(weight.chunk(count, dim=1), update.chunk(count, dim=1), strict=True):
                alike[tuple(part.shape)].append((part, change))
        for (inputs, outputs), pairs in alike.items():
            rate = group["lr"] * max(1.0, outputs / inputs) ** 0.5
            directions = orthogonalized(torch.stack([change for _, change in pairs]), self.dtype)
            for (part, _), direction in zip(pairs, directions, strict=True):
                part.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction.to(part.dtype), alpha=-rate)
