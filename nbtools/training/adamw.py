"""AdamW in one pass over memory, for weights that the passes read in bf16 and that are trained in fp32.

PyTorch's fused AdamW wants weights and gradients in one format, so mixed precision by autocast costs three more passes: weights
to bf16, gradients to fp32, the clipping. Here one compiled loop reads the bf16 gradient, clips it, updates the moments and the fp32
weight, and writes the bf16 copy for the next step. The first moment is kept in bf16 where the gradient is (DeepSeek-V3,
arXiv:2412.19437, keeps both so); the second is not: with beta2 = 0.999 its updates would round away. What it costs: a C++ compiler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch


class MasterAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 2019) over parameters whose fp32 weights lie in `masters`.

    masters  for a parameter whose data is a bf16 working copy: its fp32 weights, updated in place. Others are fp32 themselves
    lr, betas, eps, weight_decay  as in torch.optim.AdamW

    `clip(most)` bounds the gradients' total norm in the next step, without a pass of its own. States save and load bit for bit.
    """

    def __init__(
        self,
        params: Iterable[Any],
        masters: Mapping[torch.nn.Parameter, torch.Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.masters = masters
        self.shrink = 1.0

    def clip(self, most: float) -> torch.Tensor:
        """The norm of all gradients, fp32 []; the next step multiplies them so that it is at most `most`."""
        square = _compiled(_square)
        squares = [square(weight.grad.view(-1)) for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        norm = torch.stack(squares).sum().sqrt()
        self.shrink = min(1.0, most / (float(norm) + 1e-6))  # as torch.nn.utils.clip_grad_norm_ does
        return norm

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("a closure is not supported: gradients are computed before the step")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        self.shrink = 1.0

    def _update(self, weight: torch.nn.Parameter, grad: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        master = self.masters.get(weight)
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.float32)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        numbers = (
            self.shrink,
            1 - beta1,
            1 - beta2,
            group["lr"] / (1 - beta1 ** state["step"]),
            (1 - beta2 ** state["step"]) ** -0.5,
            1 - group["lr"] * group["weight_decay"],
            group["eps"],
        )
        # As tensors: plain numbers would be compiled in, one program a step.
        shrink = [torch.tensor(number, dtype=torch.float32) for number in numbers]
        flat = [part.view(-1) for part in (grad, state["exp_avg"], state["exp_avg_sq"])]
        if master is None:
            _compiled(_update)(weight.data.view(-1), *flat, *shrink)
        else:
            _compiled(_update_both)(master.view(-1), weight.data.view(-1), *flat, *shrink)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # The base class casts every moment to the format of its parameter, which is bf16 here.
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, saved in state_dict["state"].items():
            self.state[weights[number]] = {name: part.clone() if torch.is_tensor(part) else part for name, part in saved.items()}


def _square(grad: torch.Tensor) -> torch.Tensor:
    return grad.float().square().sum()


def _next(
    weight: Any, grad: Any, first: Any, second: Any, shrink: Any, new1: Any, new2: Any, rate: Any, root: Any, keep: Any, eps: Any
) -> Any:
    grad = grad.float() * shrink
    first = first.float()
    first = first + (grad - first) * new1
    second = second + (grad * grad - second) * new2
    return weight * keep - rate * first / (second.sqrt() * root + eps), first, second


def _update(weight: torch.Tensor, grad: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *numbers: torch.Tensor) -> None:
    for old, new in zip((weight, first, second), _next(weight, grad, first, second, *numbers), strict=True):
        old.copy_(new)


def _update_both(
    master: torch.Tensor, working: torch.Tensor, grad: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *numbers: torch.Tensor
) -> None:
    new = _next(master, grad, first, second, *numbers)
    working.copy_(new[0])
    for old, fresh in zip((master, first, second), new, strict=True):
        old.copy_(fresh)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)
