"""Number format, threads and compilation: measured and chosen once per fine-tuning, and stored with the run together with the reasons."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from transformers import default_data_collator

from nbtools.accel import available
from nbtools.accel.fast_path import FastPath, fits, has_adapters
from nbtools.data import Packed
from nbtools.errors import InputError, MachineError
from nbtools.system import NumberFormat, choose_dtype, choose_threads, device, progress, say
from nbtools.training.config import ResolvedConfig
from nbtools.values import CHECKS, Text, switch

# Compiling takes about this long on two cores (without AVX-512: 25 to 45 s), and a compiled pass in bf16 is 5 to 10 % shorter than a plain
# one (mini, GPT-2 small, SmolLM2); it is tried only where a fifth of a plain run would take longer. In fp32 a compiled pass was not
# shorter (mini: the same, or 12 % longer; SmolLM2: 20 % longer), so there it is not tried.
COMPILE_SECONDS = 15.0
MOST_SAVED = 0.2
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
REQUIRED = frozenset({"device", "dtype", "threads", "compile", "loss", "bf16_copies"})  # fields without which nothing can be repeated
MEASURE_AGAIN = "Leave choices out, so that they are measured again."


@dataclass(frozen=True)
class TrainingChoices:
    """How fine-tuning computes on this machine; by default as transformers does, in fp32.

    Raises InputError for an invalid value.
    """

    device: str = "cpu"
    """Name of the PyTorch device."""
    dtype: str = "fp32"
    """Number format of the passes: "fp32", "bf16" or "fp16"."""
    dtype_reason: str = ""
    gflops: dict[str, float] = field(default_factory=dict)
    """Measured speed of matrix products in each format that was tried, in GFLOP/s."""
    threads: int = 1
    """Threads that PyTorch uses."""
    threads_reason: str = ""
    loss: str = "library"
    """ "fused" (linear layer and cross-entropy in one, part of the fast path) or "library" (as transformers computes it)."""
    bf16_copies: bool = False
    """Whether forward and backward passes use bf16 copies of the weight matrices; the fp32 originals are trained."""
    compile: bool = False
    compile_reason: str = ""
    plain_pass_seconds: float | None = None
    """Of a forward and backward pass in the probe, like the next one; None: not measured."""
    compiled_pass_seconds: float | None = None
    compile_seconds: float | None = None
    """Time that compiling took in the probe."""

    def __post_init__(self) -> None:
        checks = {name: CHECKS[name] for name in ("dtype", "threads", "compile")}
        checks |= {"device": Text(), "loss": Text(("fused", "library")), "bf16_copies": switch}
        for name, check in checks.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Read the choices from a run's plan.json or metrics.json. Raises InputError if they are missing or invalid."""
        if not isinstance(values, Mapping):
            raise InputError(
                f"choices are of type {type(values).__name__}, not a mapping.", "Give those of an estimate or of a run's metrics.json."
            )
        if missing := REQUIRED - values.keys():
            raise InputError(f"choices lack {', '.join(sorted(missing))}.", "Give those of an estimate or of a run's metrics.json.")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as stored in JSON, without values that were not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def describe(self) -> str:
        """Return two lines for display: the number format, then threads and compilation."""
        compiled = "Compiled" if self.compile else "Not compiled"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return (
            f"Passes in {self.dtype}: {self.dtype_reason}. Weights are trained in fp32.\n"
            f"{threads}: {self.threads_reason}. {compiled}: {self.compile_reason}."
        )


def first_batch(train: Packed, size: int) -> dict[str, torch.Tensor]:
    """A batch of the first `size` blocks, on the device, to measure with."""
    batch = default_data_collator([train[index % len(train)] for index in range(size)])
    return {name: values.to(device()) for name, values in batch.items()}


def measure_choices(model: Any, batch: dict[str, torch.Tensor], config: ResolvedConfig) -> TrainingChoices:
    """The fastest way to train `model` on batches like `batch`. What `config` sets is not measured.

    Gradients of several passes are summed in fp32, as under autocast; bf16 copies have bf16 gradients, so accumulation rules them out.

    Raises MachineError where compiling was requested and is not possible.
    """
    threads, why = choose_threads(config.threads)
    torch.set_num_threads(threads)
    number = choose_dtype() if config.dtype is None else NumberFormat(config.dtype, "asked for", {})
    chosen = TrainingChoices(
        device=str(device()), dtype=number.name, dtype_reason=number.reason, gflops=number.gflops, threads=threads, threads_reason=why
    )
    if device().type != "cpu" or number.name == "fp16" or not fits(model):
        if config.compile:
            raise MachineError("The compiled path is for GPT-2 and Llama-like models on a processor.", "Leave compile out.")
        why = "the library's own kernels" if device().type != "cpu" else "this kind of model is trained as the library has it"
        return replace(chosen, compile_reason=why)
    chosen = replace(chosen, loss="fused")
    if has_adapters(model):
        if config.compile:
            raise MachineError("The compiled path is for training all weights, not adapters.", "Leave compile out.")
        return replace(chosen, compile_reason="adapters are not compiled")
    copies = number.name == "bf16" and config.gradient_accumulation_steps == 1
    chosen = _choose_compile(model, batch, config, chosen, copies)
    return replace(chosen, bf16_copies=copies and (chosen.compile or available("adamw")))


def reuse_choices(model: Any, choices: TrainingChoices | Mapping[str, Any], config: ResolvedConfig) -> TrainingChoices:
    """`choices` of an earlier measurement, once it is certain that they hold for this model, device and configuration.

    Raises InputError where `config` sets a value that is measured, or the choices are incomplete, or were made for another device or
    kind of model; MachineError where compiling is not possible.
    """
    if asked := [name for name in ("dtype", "compile", "threads") if getattr(config, name) is not None]:
        raise InputError(f"choices were given together with {', '.join(asked)}.", "Give one or the other.")
    if not isinstance(choices, TrainingChoices):
        choices = TrainingChoices.from_dict(choices)
    if choices.bf16_copies and config.gradient_accumulation_steps > 1:
        raise InputError("choices were made for a training without gradient accumulation.", MEASURE_AGAIN)
    if choices.device != str(device()):
        raise InputError(f"choices were made for {choices.device}, and this is {device()}.", MEASURE_AGAIN)
    all_weights = choices.compile or choices.bf16_copies  # neither is used with adapters
    if (choices.loss == "fused" and not fits(model)) or (all_weights and has_adapters(model)):
        raise InputError("choices were made for another kind of model.", MEASURE_AGAIN)
    if choices.compile and not compiler_available():
        raise MachineError("choices say to compile, and no C++ compiler is available.", "Install g++ or clang, or leave choices out.")
    return choices


def fast_path(model: Any, choices: TrainingChoices) -> FastPath | None:
    """The fast path for `model` as it was chosen; None: the library's own."""
    if choices.loss != "fused":
        return None
    return FastPath(model, FORMATS[choices.dtype], choices.compile, choices.bf16_copies)


def _choose_compile(
    model: Any, batch: dict[str, torch.Tensor], config: ResolvedConfig, chosen: TrainingChoices, copies: bool
) -> TrainingChoices:
    """`chosen` with the decision whether to compile, its reason and what was measured for it."""
    if config.compile is not None:
        if config.compile and not compiler_available():
            raise MachineError("Compiling was requested, and no C++ compiler is available.", "Install g++ or clang, or leave compile out.")
        return replace(chosen, compile=config.compile, compile_reason="asked for")
    if chosen.dtype == "fp32":
        return replace(chosen, compile_reason="in fp32 a compiled pass is no shorter (measured with mini and SmolLM2)")
    passes, dtype = config.max_steps * config.gradient_accumulation_steps, FORMATS[chosen.dtype]
    with undisturbed(model):
        _, plain = time_passes(model, batch, FastPath(model, dtype, compiled=False, copies=copies and available("adamw")))
        chosen = replace(chosen, plain_pass_seconds=round(plain, 3))
        if passes * plain * MOST_SAVED < COMPILE_SECONDS:
            return replace(chosen, compile_reason=f"{passes} passes of {plain:.2f} s (probed) are too few to make up for compiling")
        if not compiler_available():
            return replace(chosen, compile_reason="no C++ compiler is available")
        for _ in progress([None], "compiling", unit="program"):
            first, fast = time_passes(model, batch, FastPath(model, dtype, compiled=True, copies=copies))
    chosen = replace(chosen, compiled_pass_seconds=round(fast, 3), compile_seconds=round(first - fast, 1))
    if fast >= plain:
        return replace(chosen, compile_reason=f"a pass takes {fast:.2f} s compiled and {plain:.2f} s plain (probed)")
    reason = f"a pass takes {fast:.2f} s instead of {plain:.2f} s (probed); compiling took {first - fast:.0f} s"
    worth_after = max(1, round((first - fast) / (plain - fast)))
    if worth_after > passes:  # the time is already spent, and the passes are shorter
        return replace(chosen, compile=True, compile_reason=f"{reason}, more than {passes} passes save, but it is done")
    return replace(chosen, compile=True, compile_reason=f"{reason}, saved after {worth_after} of {passes} passes")


def time_passes(model: Any, batch: dict[str, torch.Tensor], fast: FastPath) -> tuple[float, float]:
    """Seconds of the first forward and backward pass over `batch`, and of the best of two to five more that take a second together.

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
def undisturbed(model: Any) -> Iterator[None]:
    """A context in which `model` can be trained to measure something.

    Afterwards gradients, which weights have them, mode, random states and threads are as before. What the weights are is up to the caller.
    """
    weights = list(model.parameters())
    gradients = [(weight.grad, weight.requires_grad) for weight in weights]
    training, threads, own = model.training, torch.get_num_threads(), dict(vars(model))
    python, numbers = random.getstate(), np.random.get_state()
    for weight in weights:
        weight.grad = None
    model.train()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for weight, (gradient, wanted) in zip(weights, gradients, strict=True):
            weight.grad, weight.requires_grad = gradient, wanted
        for name in vars(model).keys() - own.keys():  # accelerate wraps `forward`, peft names itself
            delattr(model, name)
        model.train(training)
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numbers)
        if device().type == "cuda":
            torch.cuda.empty_cache()


def compiler_available() -> bool:
    """Return whether a small program compiles; a compiler without Python's header files is not enough."""
    try:
        compiled = torch.compile(lambda values: values * 2, dynamic=True)
        return bool(compiled(torch.ones(8)).sum() == 16)
    except Exception as error:  # torch wraps what the compiler says in several kinds
        say(f"torch.compile does not work here ({type(error).__name__}); the plain path is used.")
        return False
