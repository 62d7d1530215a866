"""AdamW in one pass over memory, for weights that the forward and backward passes read in bf16 and that are trained in fp32.

PyTorch's fused AdamW wants weights and gradients in one format, so mixed precision by autocast takes three more passes: weights to
bf16, gradients to fp32, and clipping. Here one loop reads the bf16 gradient, clips it, updates the moments and the fp32 weight, and
writes the bf16 copy for the next step: `adamw.cpp` where it is available, else the same in several operations of PyTorch. The first
moment has the gradient's format (DeepSeek-V3, arXiv:2412.19437, stores both moments in bf16). The second stays in fp32: with
beta2 = 0.999 its updates would be rounded away.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from nbtools.accel.native import native_library

PIECE = 2**18  # numbers that PyTorch's operations take at a time: what they make in between stays in the processor's cache


class MasterAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 2019) over parameters whose fp32 weights are in `masters`.

    masters       the fp32 weights of each parameter that is a bf16 copy, updated in place; other parameters are fp32 themselves
    lr            as in torch.optim.AdamW, like the following
    betas
    eps
    weight_decay

    `clip(max_norm)` bounds the gradients' total norm in the next step, without another pass. States save and load bit for bit.
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

    def clip(self, max_norm: float) -> torch.Tensor:
        """The norm of all gradients, fp32 []; the next step scales them so that it is at most `max_norm`."""
        if (native := _native()) is not None:
            norm = torch.tensor(native.squared_norm(*self._parts())).sqrt()
        else:
            norms = [torch.linalg.vector_norm(weight.grad, dtype=torch.float32) for weight, _, _ in self._due()]
            norm = torch.linalg.vector_norm(torch.stack(norms))
        self.shrink = min(1.0, max_norm / (float(norm) + 1e-6))  # as torch.nn.utils.clip_grad_norm_ does
        return norm

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("a closure is not supported: gradients are computed before the step")
        for _, state, _ in self._due():
            state["step"] += 1
        if (native := _native()) is not None:
            native.adamw(*self._parts())
        else:
            for weight, state, group in self._due():
                self._update(weight, state, self._numbers(state, group))
        self.shrink = 1.0

    def _due(self) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
        """Each parameter that has a gradient, with its state and its group."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(weight)
                    state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.float32)
                yield weight, state, group

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> tuple[float, ...]:
        """The factors of a step, in the order of `_Part`."""
        beta1, beta2 = group["betas"]
        taken = max(1, state["step"])
        rate, root = group["lr"] / (1 - beta1**taken), (1 - beta2**taken) ** -0.5
        return self.shrink, 1 - beta1, 1 - beta2, rate, root, 1 - group["lr"] * group["weight_decay"], group["eps"]

    def _parts(self) -> tuple[ctypes.Array[_Part], int, int]:
        """The arguments of `adamw.cpp`: the parameters, their number, and the number of threads."""
        parts = []
        for weight, state, group in self._due():
            master = self.masters.get(weight)
            full, working = (weight.data, None) if master is None else (master, weight.data)
            addresses = [each if each is None else each.view(-1).data_ptr() for each in (full, working, weight.grad, state["exp_avg"])]
            parts.append(_Part(*addresses, state["exp_avg_sq"].data_ptr(), weight.numel(), *self._numbers(state, group)))
        return (_Part * len(parts))(*parts), len(parts), torch.get_num_threads()

    def _update(self, weight: torch.nn.Parameter, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        """Update one parameter like `adamw.cpp`, with PyTorch operations."""
        shrink, new1, new2, rate, root, keep, eps = numbers
        tensors = self.masters.get(weight, weight.data), weight.data, weight.grad, state["exp_avg"], state["exp_avg_sq"]
        for master, working, grad, first, second in zip(*(each.view(-1).split(PIECE) for each in tensors), strict=True):  # type: ignore[union-attr]
            grad, mean = grad.float() * shrink, first.float()
            mean = mean + (grad - mean) * new1
            second.add_((grad * grad - second) * new2)
            master.mul_(keep).sub_(rate * mean / (second.sqrt() * root + eps))
            first.copy_(mean)
            working.copy_(master)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # The base class casts every moment to the format of its parameter, which is bf16 here.
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, saved in state_dict["state"].items():
            self.state[weights[number]] = {name: value.clone() if torch.is_tensor(value) else value for name, value in saved.items()}


class _Part(ctypes.Structure):  # as in adamw.cpp
    _fields_ = [
        *((name, ctypes.c_void_p) for name in "weight working grad first second".split()),
        ("count", ctypes.c_int64),
        *((name, ctypes.c_float) for name in "shrink new1 new2 rate root keep eps".split()),
    ]


@functools.cache
def _native() -> ctypes.CDLL | None:
    library = native_library("adamw")
    if library is not None:
        library.squared_norm.restype = ctypes.c_double
    return library
