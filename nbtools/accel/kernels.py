"""The operations of a training step that are faster here than PyTorch's own on a CPU: linear layers in fp32, attention over packed
documents, GELU, and the softmax of the loss.

`training.cpp` computes the last three; for products see `nbtools.system.onednn_product`.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch

from nbtools.accel.native import native_library
from nbtools.system import onednn_product


class Linear(torch.autograd.Function):
    """x @ weight.T + bias for a weight [outputs, inputs], or x @ weight + bias where `transposed` (GPT-2's Conv1D); computed by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, transposed: bool) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.transposed, ctx.biased = transposed, bias is not None
        return onednn_product(x, weight.t() if transposed else weight, bias)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        x, weight = ctx.saved_tensors
        (outer,) = outputs
        rows, outers = x.reshape(-1, x.shape[-1]), outer.reshape(-1, outer.shape[-1])
        grad = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad = onednn_product(outer, weight if ctx.transposed else weight.t())
        if ctx.needs_input_grad[1]:
            grad_weight = onednn_product(rows.t(), outers.t()) if ctx.transposed else onednn_product(outers.t(), rows.t())
        return grad, grad_weight, outers.sum(0) if ctx.biased and ctx.needs_input_grad[2] else None, None


class Gelu(torch.autograd.Function):
    """GELU in the form with tanh, in one pass over memory."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        x = x.contiguous()
        ctx.save_for_backward(x)
        return _gelu(x, None)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        return _gelu(ctx.saved_tensors[0], outputs[0].contiguous())


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU in the form with tanh: in C++, or PyTorch's where that is not available."""
    return torch.nn.functional.gelu(x, approximate="tanh") if code() is None else Gelu.apply(x)


def _gelu(x: torch.Tensor, outer: torch.Tensor | None) -> torch.Tensor:
    out = torch.empty_like(x)
    code().gelu_tanh(x.data_ptr(), None if outer is None else outer.data_ptr(), out.data_ptr(), x.numel(), *_how(x))
    return out


def logit_sums(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's largest logit and its sum of exp(logit - largest), float32 [rows]."""
    largest, total = torch.empty(2, len(logits)).unbind()
    code().logit_sums(logits.data_ptr(), *logits.shape, largest.data_ptr(), total.data_ptr(), *_how(logits))
    return largest, total


def logit_scale_(logits: torch.Tensor, log_total: torch.Tensor, factor: torch.Tensor) -> None:
    """Replace each logit by its probability · factor."""
    code().logit_scale(logits.data_ptr(), *logits.shape, log_total.data_ptr(), factor.data_ptr(), *_how(logits))


class _Heads(ctypes.Structure):  # as in training.cpp
    _fields_ = [("data", ctypes.c_void_p), ("row", ctypes.c_int64), ("head", ctypes.c_int64), ("token", ctypes.c_int64)]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Heads:
        assert tensor.stride(3) == 1
        return cls(tensor.data_ptr(), *tensor.stride()[:3])


class _Arguments(ctypes.Structure):  # as in training.cpp
    _fields_ = [
        *((name, _Heads) for name in "query key value out grad_out grad_query grad_key grad_value".split()),
        ("log_sums", ctypes.c_void_p),
        ("documents", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in "count heads groups size tokens threads".split()),
        ("scaling", ctypes.c_float),
    ]


class Attention(torch.autograd.Function):
    """softmax(Q Kᵀ · scaling) V over each document's earlier tokens.

    query       [batch, heads, tokens, size]
    key, value  the same, or with a divisor of the heads
    documents   int32 [documents, 3]: row, first token, end
    returns     [batch, heads, tokens, size], in memory [batch, tokens, heads, size]
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, documents: Any, scaling: float) -> Any:
        query, key, value = (each if each.stride(3) == 1 else each.contiguous() for each in (query, key, value))
        out = _like_output(query)
        log_sums = torch.empty(query.shape[:3])
        _call("attention_forward", {"query": query, "key": key, "value": value, "out": out}, log_sums, documents, scaling)
        ctx.save_for_backward(query, key, value, log_sums, documents)
        ctx.scaling = scaling
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        query, key, value, log_sums, documents = ctx.saved_tensors
        outer = outputs[0] if outputs[0].stride(3) == 1 else outputs[0].contiguous()
        grads = [_like_output(each) for each in (query, key, value)]
        named = dict(zip(("grad_query", "grad_key", "grad_value"), grads, strict=True))
        _call(
            "attention_backward", {"query": query, "key": key, "value": value, "grad_out": outer, **named}, log_sums, documents, ctx.scaling
        )
        return *grads, None, None


def _like_output(heads: torch.Tensor) -> torch.Tensor:
    batch, count, tokens, size = heads.shape
    return torch.empty(batch, tokens, count, size, dtype=heads.dtype).transpose(1, 2)


def _call(name: str, tensors: dict[str, torch.Tensor], log_sums: torch.Tensor, documents: torch.Tensor, scaling: float) -> None:
    query, key = tensors["query"], tensors["key"]
    threads, half = _how(query)
    arguments = _Arguments(
        **{each: _Heads.of(tensor) for each, tensor in tensors.items()},
        log_sums=log_sums.data_ptr(),
        documents=documents.data_ptr(),
        count=len(documents),
        heads=query.shape[1],
        groups=key.shape[1],
        size=query.shape[3],
        tokens=query.shape[2],
        threads=threads,
        scaling=scaling,
    )
    getattr(code(), name)(ctypes.byref(arguments), half)


def _how(tensor: torch.Tensor) -> tuple[int, bool]:
    """The number of threads, and whether numbers are bf16."""
    return torch.get_num_threads(), tensor.dtype == torch.bfloat16


@functools.cache
def code() -> Any:
    """`training.cpp`, or None where it cannot be compiled."""
    library = native_library("training")
    if library is not None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        library.gelu_tanh.argtypes = [pointer, pointer, pointer, number, ctypes.c_int, ctypes.c_bool]
        library.logit_sums.argtypes = [pointer, number, number, pointer, pointer, ctypes.c_int, ctypes.c_bool]
        library.logit_scale.argtypes = [pointer, number, number, pointer, pointer, ctypes.c_int, ctypes.c_bool]
        library.attention_forward.argtypes = library.attention_backward.argtypes = [pointer, ctypes.c_bool]
    return library
