"""The Muon optimizer for the matrices of a model, with AdamW for the other parameters.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) sets the singular values of a matrix's momentum to about 1, by a
few Newton-Schulz iterations, before it is subtracted. `torch.optim.Muon` (since 2.9) always iterates in bf16, which on a processor
without bf16 units takes a hundred times as long as fp32. This implementation iterates in a given dtype, for all matrices of one shape
at once; a test compares it with PyTorch's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that Jordan et al. iterate
STEPS = 5
TINY = 1e-7  # lower bound of the norm in a division


def orthogonalized(matrices: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """`matrices` with their singular values moved to about 0.7 to 1.2, and the same singular vectors.

    matrices  [number, rows, columns]
    dtype     of the matrix products and of the result
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
    """Muon with Nesterov momentum for matrices, AdamW (Loshchilov and Hutter, 2019) for the other parameters.

    matrices      fp32 weights [inputs, outputs], as in GPT-2's Conv1D; a weight with `parts` times as many outputs as inputs is taken as
                  `parts` matrices side by side (query, key and value)
    others        embeddings, norms and biases
    matrix_lr     learning rate of Muon; an update has singular values of about matrix_lr · max(1, outputs / inputs)^½
    lr            learning rate of AdamW
    momentum      of Muon
    weight_decay  of the matrices, decoupled; the other parameters have none
    betas         of AdamW
    parts         number of matrices in a combined projection
    dtype         of the Newton-Schulz iterations

    A scheduler scales both learning rates. `state_dict` and `load_state_dict` work as usual.
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
        self.param_groups[1] = self.adamw.param_groups[0]  # with all the defaults that AdamW adds
        self._share()

    def _share(self) -> None:
        """Let AdamW use this optimizer's group and state, so that schedulers and checkpoints see them."""
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
        by_shape: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)  # weights and updates
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            moved = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
            update = weight.grad.lerp(moved, group["momentum"])  # Nesterov momentum
            count = self.parts if weight.shape[1] == self.parts * weight.shape[0] else 1
            for part, change in zip(weight.chunk(count, dim=1), update.chunk(count, dim=1), strict=True):
                by_shape[tuple(part.shape)].append((part, change))
        for (inputs, outputs), pairs in by_shape.items():
            rate = group["lr"] * max(1.0, outputs / inputs) ** 0.5
            directions = orthogonalized(torch.stack([change for _, change in pairs]), self.dtype)
            for (part, _), direction in zip(pairs, directions, strict=True):
                part.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction.to(part.dtype), alpha=-rate)
