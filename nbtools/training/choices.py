"""What a fine-tuning decides by measurement, once: number format, threads, compiled or not. Each with its reason, kept with the run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nbtools.accel import available
from nbtools.accel.fast_path import FastPath, fits, has_adapters
from nbtools.errors import InputError, MachineError
from nbtools.runtime import NumberFormat, choose_dtype, choose_threads, device, progress, say
from nbtools.values import CHECKS

# On two cores compiling takes about so long (without AVX-512: 25 to 45 s), and a compiled pass in bf16 is 5 to 10 % shorter than a plain
# one (mini, GPT-2 small, SmolLM2); it is tried only where a fifth of a plain run would be longer than that. In fp32 a compiled pass was
# not shorter (mini: the same, or 12 % longer; SmolLM2: 20 % longer), so there nothing is tried and nobody waits for it.
COMPILE_SECONDS = 15.0
MOST_SAVED = 0.2
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose(
    model: Any, batch: dict[str, torch.Tensor], steps: int, passes: int = 1, *,
    dtype: str | None, compile: bool | None, threads: int | None,
) -> dict[str, Any]:  # fmt: skip
    """The choices for `steps` steps of `passes` passes on batches like `batch`; a value that is given is not measured.

    Gradients of several passes are summed in fp32, as autocast does it, so then there are no bf16 copies, whose gradients are bf16.

    Raises InputError for a value that does not exist, MachineError where compiling was asked for and cannot be done.
    """
    if dtype is not None:
        CHECKS["dtype"]("dtype", dtype)
    count, why = choose_threads(threads)
    torch.set_num_threads(count)
    number = choose_dtype() if dtype is None else NumberFormat(dtype, "asked for", {})
    chosen = {
        "device": str(device()),
        "dtype": number.name,
        "dtype_reason": number.reason,
        "gflops": number.gflops,
        "threads": count,
        "threads_reason": why,
    }
    fast = device().type == "cpu" and number.name != "fp16" and fits(model)
    if not fast:
        if compile:
            raise MachineError("The compiled path is for GPT-2 and Llama-like models on a processor.", "Leave compile out.")
        why = "the library's own kernels" if device().type != "cpu" else "this kind of model is trained as the library has it"
        return {**chosen, "loss": "library", "bf16_copies": False, "compile": False, "compile_reason": why}
    if has_adapters(model):
        if compile:
            raise MachineError("The compiled path is for training all weights, and these are adapters.", "Leave compile out.")
        why = "adapters are not compiled"
        return {**chosen, "loss": "fused", "bf16_copies": False, "compile": False, "compile_reason": why}
    copies = number.name == "bf16" and passes == 1
    compiled, why, figures = _choose_compile(model, batch, steps * passes, number.torch_dtype, compile, copies)
    copies = copies and (compiled or available("adamw"))
    return {**chosen, "loss": "fused", "bf16_copies": copies, "compile": compiled, "compile_reason": why, **figures}


def repeat(model: Any, choices: Mapping[str, Any], wanted: dict[str, Any], passes: int = 1) -> dict[str, Any]:
    """`choices` of an earlier measurement, once it is clear that they can be kept here. wanted: what was asked for beside them.

    passes  per step, as in `choose`

    Raises InputError where something else was asked for as well, or they are no choices, or were made for another device or kind of
    model; MachineError where compiling cannot be done.
    """
    if asked := [name for name, value in wanted.items() if value is not None]:
        raise InputError(f"choices were given, and {', '.join(asked)} beside them.", "Give one or the other.")
    if not isinstance(choices, Mapping):
        raise InputError(f"choices are of type {type(choices).__name__}, not a mapping.", "Give those of an estimate or of a metrics.json.")
    if missing := {"device", "dtype", "threads", "compile", "loss", "bf16_copies"} - choices.keys():
        raise InputError(f"choices lack {', '.join(sorted(missing))}.", "Give those of an estimate or of a run's metrics.json, whole.")
    for name in ("dtype", "threads", "compile"):
        CHECKS[name](name, choices[name])
    if choices["bf16_copies"] and passes > 1:
        raise InputError("choices were made for a training without gradient accumulation.", "Leave them out: they are measured anew.")
    if choices["device"] != str(device()):
        raise InputError(f"choices were made for {choices['device']}, and this is {device()}.", "Leave them out: they are measured anew.")
    whole = choices["compile"] or choices["bf16_copies"]  # what adapters are not trained with
    if (choices["loss"] == "fused" and not fits(model)) or (whole and has_adapters(model)):
        raise InputError("choices were made for another kind of model.", "Leave them out: they are measured anew.")
    if choices["compile"] and not compiler_at_hand():
        raise MachineError("choices say to compile, and no C++ compiler is at hand.", "Install g++ or clang, or leave choices out.")
    return dict(choices)


def fast_path(model: Any, choices: Mapping[str, Any]) -> FastPath | None:
    """What trains `model` fast, as it was chosen; None: the library's way."""
    if choices["loss"] != "fused":
        return None
    return FastPath(model, FORMATS[choices["dtype"]], choices["compile"], choices["bf16_copies"])


def describe(choices: dict[str, Any]) -> str:
    """Three lines for a person."""
    compiled = "compiled" if choices["compile"] else "not compiled"
    threads = f"{choices['threads']} thread{'s' if choices['threads'] > 1 else ''}"
    return (
        f"Passes in {choices['dtype']}: {choices['dtype_reason']}. Weights are trained in fp32.\n"
        f"{threads[0].upper()}{threads[1:]}: {choices['threads_reason']}. {compiled.capitalize()}: {choices['compile_reason']}."
    )


def _choose_compile(
    model: Any, batch: dict[str, torch.Tensor], passes: int, dtype: torch.dtype, wanted: bool | None, copies: bool
) -> tuple[bool, str, dict[str, float]]:
    if wanted is not None:
        if wanted and not compiler_at_hand():
            raise MachineError("Compiling was asked for, and no C++ compiler is at hand.", "Install g++ or clang, or leave compile out.")
        return wanted, "asked for", {}
    if dtype == torch.float32:
        return False, "in fp32 a compiled pass is no shorter (measured with mini and SmolLM2)", {}
    with _undisturbed(model):
        _, plain = time_passes(model, batch, FastPath(model, dtype, compiled=False, copies=copies and available("adamw")))
        figures = {"plain_pass_seconds": round(plain, 3)}
        if passes * plain * MOST_SAVED < COMPILE_SECONDS:
            return False, f"{passes} passes of {plain:.2f} s (probed) are over before compiling is repaid", figures
        if not compiler_at_hand():
            return False, "no C++ compiler is at hand", figures
        for _ in progress([None], "compiling", unit="program"):
            first, fast = time_passes(model, batch, FastPath(model, dtype, compiled=True, copies=copies))
    figures |= {"compiled_pass_seconds": round(fast, 3), "compile_seconds": round(first - fast, 1)}
    if fast >= plain:
        return False, f"a pass takes {fast:.2f} s compiled and {plain:.2f} s plain (probed)", figures
    repaid = max(1, round((first - fast) / (plain - fast)))
    said = f"a pass takes {fast:.2f} s instead of {plain:.2f} s (probed); compiling took {first - fast:.0f} s"
    if repaid > passes:  # the time is already spent, and the passes are shorter
        return True, f"{said}, which {passes} passes do not repay, but it is done", figures
    return True, f"{said}, repaid after {repaid} of {passes} passes", figures


def time_passes(model: Any, batch: dict[str, torch.Tensor], fast: FastPath) -> tuple[float, float]:
    """Seconds of the first forward and backward pass over `batch`, and the best of two to five more that fill a second.

    No weight is changed.
    """
    seconds: list[float] = []
    fast.engage()
    try:
        while len(seconds) < 3 or (len(seconds) < 6 and sum(seconds[1:]) < 1):
            start = time.perf_counter()
            model(**batch).loss.backward()
            seconds.append(time.perf_counter() - start)
            model.zero_grad()
    finally:
        fast.release()
    return seconds[0], min(seconds[1:])


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """In training mode, and afterwards as before: mode, gradients, random state."""
    was_training = model.training
    model.train()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        model.zero_grad()
        model.train(was_training)


def compiler_at_hand() -> bool:
    """Whether a small program can really be compiled: a compiler without Python's headers is none."""
    try:
        compiled = torch.compile(_twice, dynamic=True)
        return bool(compiled(torch.ones(8)).sum() == 16)
    except Exception as error:  # torch wraps what the compiler says in several kinds
        say(f"torch.compile does not work here ({type(error).__name__}); the plain path is used.")
        return False


def _twice(values: torch.Tensor) -> torch.Tensor:
    return values * 2
