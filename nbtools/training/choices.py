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
from nbtools.system import NumberFormat, choose_dtype, choose_threads, device, keep_threads, onednn_is_faster, say
from nbtools.training.config import ResolvedConfig
from nbtools.values import CHECKS, Text, switch

# A shorter run takes the fast path without a comparison, which would take longer than it can save. The limit is a count of operations
# and not of seconds, so that a short run repeats bit for bit also where something else uses the machine.
LEAST_PASSES, LEAST_OPERATIONS = 50, 8e12  # 8e12 take 20 s at 400 GFLOP/s
SHORT = "taken without a comparison, because the run is short"
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
    """ "fused" (the fast path of `nbtools.accel`) or "library" (as transformers computes it)."""
    path_reason: str = ""
    onednn: bool = False
    """Whether the fast path's linear layers call oneDNN; else PyTorch chooses the library for a product."""
    bf16_copies: bool = False
    """Whether forward and backward passes use bf16 copies of the weight matrices; the fp32 originals are trained."""
    compile: bool = False
    """Whether the transformer blocks are compiled, as asked for: a compiled pass of mini, SmolLM2 or GPT-2 small is no shorter."""
    plain_pass_seconds: float | None = None
    """Of a forward and backward pass over one block on the fast path; None: not measured."""
    library_pass_seconds: float | None = None

    def __post_init__(self) -> None:
        checks = {name: CHECKS[name] for name in ("dtype", "threads", "compile")}
        checks |= {"device": Text(), "loss": Text(("fused", "library")), "bf16_copies": switch, "onednn": switch}
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
        """Return two lines for display: the number format, then threads and path."""
        path = {"fused": "Fast path", "library": "The library's own path"}[self.loss]
        path = f"{path}: {self.path_reason}" if self.path_reason else path
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"Passes in {self.dtype}: {self.dtype_reason}. Weights are trained in fp32.\n{threads}: {self.threads_reason}. {path}."


def first_batch(train: Packed, size: int) -> dict[str, torch.Tensor]:
    """A batch of the first `size` blocks, on the device, to measure with."""
    batch = default_data_collator([train[index % len(train)] for index in range(size)])
    return {name: values.to(device()) for name, values in batch.items()}


@keep_threads()
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
        return replace(chosen, path_reason="" if device().type != "cpu" else "for this kind of model there is no other")
    chosen = replace(chosen, loss="fused", onednn=number.name == "fp32" and onednn_is_faster())
    if has_adapters(model):
        if config.compile:
            raise MachineError("The compiled path is for training all weights, not adapters.", "Leave compile out.")
        return _choose_path(model, batch, config, chosen)
    copies = number.name == "bf16" and config.gradient_accumulation_steps == 1
    if config.compile:
        if not compiler_available():
            raise MachineError("Compiling was requested, and no C++ compiler is available.", "Install g++ or clang, or leave compile out.")
        return replace(chosen, compile=True, path_reason="compiled, as asked for", bf16_copies=copies, onednn=False)
    return _choose_path(model, batch, config, replace(chosen, bf16_copies=copies and available("adamw")))


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
    dtype = FORMATS[choices.dtype]
    return FastPath(model, dtype, compiled=choices.compile, copies=choices.bf16_copies, onednn=choices.onednn)


def _choose_path(model: Any, batch: dict[str, torch.Tensor], config: ResolvedConfig, chosen: TrainingChoices) -> TrainingChoices:
    """`chosen`, which has the fast path, or the library's own path where a pass of that over one block is shorter.

    One block, because the library's logits take several times the memory of the fast path.
    """
    passes = config.max_steps * config.gradient_accumulation_steps
    if passes < LEAST_PASSES:
        return replace(chosen, path_reason=SHORT)
    operations = 6 * sum(weight.numel() for weight in model.parameters()) * passes * batch["input_ids"].numel()
    if operations < LEAST_OPERATIONS:
        return replace(chosen, path_reason=SHORT)
    block = {name: values[:1] for name, values in batch.items()}
    with undisturbed(model):
        fused = time_passes(model, block, fast_path(model, chosen), chosen.dtype)
        library = time_passes(model, block, None, chosen.dtype)
    chosen = replace(chosen, plain_pass_seconds=round(fused, 4), library_pass_seconds=round(library, 4))
    if fused <= library:
        return replace(chosen, path_reason=f"a block takes {fused:.2g} s instead of {library:.2g} s (measured)")
    reason = f"a block takes {library:.2g} s, and {fused:.2g} s on the fast path (measured)"
    return replace(chosen, loss="library", onednn=False, bf16_copies=False, path_reason=reason)


def time_passes(model: Any, batch: dict[str, torch.Tensor], fast: FastPath | None, dtype: str) -> float:
    """Seconds of a forward and backward pass over `batch`: the best of two to five that take a second together, after one to warm up.

    fast   the path; None: as transformers and autocast compute it in the format `dtype`

    No weight is changed.
    """
    seconds: list[float] = []
    autocast = torch.autocast("cpu", FORMATS[dtype], enabled=fast is None and dtype != "fp32")
    with fast or contextlib.nullcontext():
        while len(seconds) < 3 or (len(seconds) < 6 and sum(seconds[1:]) < 1):
            start = time.perf_counter()
            with autocast:
                loss = model(**batch, use_cache=False).loss
            loss.backward()
            seconds.append(time.perf_counter() - start)
            model.zero_grad()
    return min(seconds[1:])


@contextlib.contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """A context in which `model` can be trained to measure something.

    Afterwards gradients, which weights have them, mode, random states and threads are as before. What the weights are is up to the caller.
    """
    weights = list(model.parameters())
    gradients = [(weight.grad, weight.requires_grad) for weight in weights]
    training, own = model.training, dict(vars(model))
    python, numbers = random.getstate(), np.random.get_state()
    for weight in weights:
        weight.grad = None
    model.train()
    try:
        with torch.random.fork_rng(), keep_threads():
            yield
    finally:
        for weight, (gradient, wanted) in zip(weights, gradients, strict=True):
            weight.grad, weight.requires_grad = gradient, wanted
        for name in vars(model).keys() - own.keys():  # accelerate wraps `forward`, peft names itself
            delattr(model, name)
        model.train(training)
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
