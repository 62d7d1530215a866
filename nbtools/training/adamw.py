"""AdamW in one pass over memory, for weights that the passes read in bf16 and that are trained in fp32.

PyTorch's fused AdamW wants weights and gradients in one format, so mixed precision by autocast costs three more passes: weights
to bf16, gradients to fp32, the clipping. Here one loop reads the bf16 gradient, clips it, updates the moments and the fp32 weight,
and writes the bf16 copy for the next step: `adamw.cpp` on Linux, elsewhere what torch.compile makes of the same. The first moment
is kept in bf16 where the gradient is (DeepSeek-V3, arXiv:2412.19437, keeps both so); the second is not: with beta2 = 0.999 its
updates would round away. What it costs: a C++ compiler.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from nbtools.runtime import native_library

SOURCE = Path(__file__).with_suffix(".cpp")


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
        if (native := _native()) is not None:
            norm = torch.tensor(native.squared_norm(*self._parts())).sqrt()
        else:
            square = _compiled(_square)
            norm = torch.stack([square(weight.grad.view(-1)) for weight, _, _ in self._due()]).sum().sqrt()
        self.shrink = min(1.0, most / (float(norm) + 1e-6))  # as torch.nn.utils.clip_grad_norm_ does
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
        """What a step multiplies with: see `_next`."""
        beta1, beta2 = group["betas"]
        taken = max(1, state["step"])
        rate, root = group["lr"] / (1 - beta1**taken), (1 - beta2**taken) ** -0.5
        return self.shrink, 1 - beta1, 1 - beta2, rate, root, 1 - group["lr"] * group["weight_decay"], group["eps"]

    def _parts(self) -> tuple[ctypes.Array[_Part], int, int]:
        """What `adamw.cpp` is told: the parameters, their number, and how many threads."""
        parts = []
        for weight, state, group in self._due():
            master = self.masters.get(weight)
            whole, working = (weight.data, None) if master is None else (master, weight.data)
            places = [one if one is None else one.view(-1).data_ptr() for one in (whole, working, weight.grad, state["exp_avg"])]
            parts.append(_Part(*places, state["exp_avg_sq"].data_ptr(), weight.numel(), *self._numbers(state, group)))
        return (_Part * len(parts))(*parts), len(parts), torch.get_num_threads()

    def _update(self, weight: torch.nn.Parameter, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        master = self.masters.get(weight)
        # As tensors: plain numbers would be compiled in, one program a step.
        tensors = [torch.tensor(number, dtype=torch.float32) for number in numbers]
        flat = [part.view(-1) for part in (weight.grad, state["exp_avg"], state["exp_avg_sq"])]  # type: ignore[union-attr]
        if master is None:
            _compiled(_update)(weight.data.view(-1), *flat, *tensors)
        else:
            _compiled(_update_both)(master.view(-1), weight.data.view(-1), *flat, *tensors)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # The base class casts every moment to the format of its parameter, which is bf16 here.
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, saved in state_dict["state"].items():
            self.state[weights[number]] = {name: part.clone() if torch.is_tensor(part) else part for name, part in saved.items()}


class _Part(ctypes.Structure):  # as in adamw.cpp
    _fields_ = [
        *((name, ctypes.c_void_p) for name in "weight working grad first second".split()),
        ("count", ctypes.c_int64),
        *((name, ctypes.c_float) for name in "shrink new1 new2 rate root keep eps".split()),
    ]


def one_pass_at_hand() -> bool:
    """Whether the one loop is there without torch.compile."""
    return _native() is not None


@functools.cache
def _native() -> ctypes.CDLL | None:
    library = native_library(SOURCE)
    if library is not None:
        library.squared_norm.restype = ctypes.c_double
    return library


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
