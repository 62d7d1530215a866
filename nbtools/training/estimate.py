"""What a planned fine-tuning takes on this machine, by a few probe steps of the very same Trainer: minutes, memory, disk."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from transformers import default_data_collator

from nbtools.data import tokenize
from nbtools.errors import MachineError
from nbtools.evaluation import STRIDE, WINDOW
from nbtools.generation import release
from nbtools.models import exclusively, save_model
from nbtools.runtime import device, keep_freed_memory, quiet_libraries, seed_everything
from nbtools.texts import check_texts
from nbtools.training.callbacks import LOGGING_STEPS
from nbtools.training.choices import choose
from nbtools.training.config import FinetuneConfig
from nbtools.training.finetune import VALIDATION_SAMPLE
from nbtools.training.loop import dropping, with_adapters
from nbtools.training.memory import PeakMemory, free_memory, held_memory, refuse, refuse_impossible
from nbtools.training.plan import folder_of, share_of
from nbtools.training.probe import Probe, size_of

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.data import Packed
    from nbtools.models import LanguageModel

PROBE_TEXTS = 8  # scored, of those that the curve scores


@dataclass(frozen=True)
class Estimate:
    """What `finetune` with the same arguments and these `choices` will take, in the process that made the estimate.

    parts        seconds by part: steps, validation, checkpoints, saving, scoring
    steps        of the run; step_seconds: of one
    memory_bytes, free_memory_bytes  the most that the process will hold, and what it may hold (what it has and what is free)
    disk_bytes, free_disk_bytes      the most that lies on the disk at once, and what was free there; kept_bytes: what stays
    choices      what finetune would choose, to be given to it; probe_seconds: what the estimate took
    disturbance  what disturbed the probe: the times are then not known, and those given are as they would be if it went on; "" for nothing
    """

    parts: dict[str, float]
    steps: int
    step_seconds: float
    memory_bytes: int
    free_memory_bytes: int
    disk_bytes: int
    kept_bytes: int
    free_disk_bytes: int
    choices: dict[str, Any]
    probe_seconds: float
    disturbance: str = ""

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, **asdict(self)}

    def __repr__(self) -> str:
        long = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in self.parts.items() if seconds >= 0.5)
        compiled = "compiled" if self.choices["compile"] else "not compiled"
        disk = f"{_gigabytes(self.disk_bytes)} while it trains, {_gigabytes(self.kept_bytes)} kept, of {_gigabytes(self.free_disk_bytes)}"
        time = f"{_duration(self.seconds)} for {self.steps} steps{f' ({long})' if long else ''}"
        if self.disturbance:
            time = f"time not known, because the probe was disturbed: {self.disturbance}; if that went on, {time}"
        return (
            f"{time}\n"
            f"memory: {_gigabytes(self.memory_bytes)} of {_gigabytes(self.free_memory_bytes)}; disk: {disk}\n"
            f"in {self.choices['dtype']}, {compiled}, threads: {self.choices['threads']}; probed in {_duration(self.probe_seconds)}"
        )


@exclusively
def estimate(
    lm: LanguageModel,
    train: Packed,
    *,
    output_dir: str | Path | None = None,
    validation: Dataset | Sequence[str] | None = None,
    scoring: Dataset | Sequence[str] = (),
    **settings: Any,
) -> Estimate:
    """What `finetune` with these arguments will take: seconds, bytes of memory, bytes of disk, and what it will choose.

    Give the estimate's `choices` to `finetune`, so that nothing is measured and compiled a second time.

    scoring   texts that are scored beside the training, each as often as it stands here
    settings  the fields of `FinetuneConfig` but report_to, as in `finetune`

    Takes seven steps of the run itself, with a learning rate of zero, one checkpoint beside `output_dir` and a few scored texts; then
    all of it is taken back: weights, gradients, random states, threads and disk are as before. Raises MachineError, with advice,
    when memory or disk will not do (before anything is tried where the shapes alone say so), and what `finetune` raises for an
    impossible plan.
    """
    start = time.perf_counter()
    config = FinetuneConfig.from_options("estimate", settings, ("output_dir", "validation", "scoring"), without=("report_to",))
    plan = config.plan(lm, train)
    disk = next(folder for folder in folder_of(plan, output_dir).parents if folder.is_dir())  # the nearest that is there already
    sample = [] if validation is None else check_texts(validation, "validation")[:VALIDATION_SAMPLE]
    scored = check_texts(scoring, "scoring")
    quiet_libraries()
    release(lm.model)  # as finetune does
    free, free_disk = free_memory() + held_memory(), shutil.disk_usage(disk).free
    share = share_of(plan["batch_size"], PartialState(cpu=device().type == "cpu").num_processes)
    with _undisturbed(lm.model), tempfile.TemporaryDirectory(prefix=".probe-", dir=disk) as place, PeakMemory() as peak:
        seed_everything(config.seed)
        with _adapted(lm, config.lora) as model, keep_freed_memory(), dropping(model, config.dropout):
            refuse_impossible(model, share, train.block_size)
            batch = default_data_collator([train[number % len(train)] for number in range(share)])
            batch = {name: part.to(device()) for name, part in batch.items()}
            choices = choose(model, batch, plan["max_steps"], plan["gradient_accumulation_steps"], **config.wanted)
            torch.set_num_threads(choices["threads"])
            refuse_impossible(model, share, train.block_size, choices)
            trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
            # Where passes were tried for the choice, their peak is known, and the optimizer's moments come on top.
            refuse(peak.bytes + (6 if choices["bf16_copies"] else 8) * trained, free, model, share, train.block_size)
            _refuse_disk(4 * lm.parameters + 6 * trained, free_disk, disk)  # one checkpoint, at least
            texts = _spread(sample or scored[:VALIDATION_SAMPLE], lm)
            probe = Probe(replace(lm, model=model), texts, Path(place))
            probe.run(train, plan, choices, share)
        saving = time.perf_counter()
        model_bytes = size_of(save_model(lm, Path(place, "model")))
        saving = time.perf_counter() - saving
    refuse(peak.bytes, free, lm.model, share, train.block_size)
    saves = (plan["max_steps"] - 1) // (config.checkpoint_steps or max(1, plan["max_steps"] // 5))
    at_once = max(min(saves, 3) * probe.checkpoint_bytes, min(saves, 2) * probe.checkpoint_bytes + model_bytes)
    _refuse_disk(at_once, free_disk, disk)
    seconds_a_token = probe.scoring_seconds / max(1, computed_tokens(texts, lm))
    return Estimate(
        parts={
            "steps": plan["max_steps"] * probe.step_seconds,
            "validation": _validations(plan["max_steps"]) * computed_tokens(sample, lm) * seconds_a_token,
            "checkpoints": saves * probe.checkpoint_seconds,
            "saving": saving,
            "scoring": computed_tokens(scored, lm) * seconds_a_token,
        },
        steps=plan["max_steps"],
        step_seconds=probe.step_seconds,
        memory_bytes=peak.bytes,
        free_memory_bytes=free,
        disk_bytes=at_once,
        kept_bytes=model_bytes,
        free_disk_bytes=free_disk,
        choices=choices,
        probe_seconds=time.perf_counter() - start,
        disturbance=probe.disturbance(),
    )


@contextlib.contextmanager
def _adapted(lm: LanguageModel, lora: bool) -> Iterator[Any]:
    """The model that is trained: `lm`'s own, or within this context the same with adapters."""
    if not lora:
        yield lm.model
        return
    adapted = with_adapters(lm)
    try:
        yield adapted
    finally:
        adapted.unload()


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Afterwards everything is as it was: gradients and which weights have them, mode, random states, threads."""
    weights = list(model.parameters())
    gradients = [(weight.grad, weight.requires_grad) for weight in weights]
    training, threads, own = model.training, torch.get_num_threads(), dict(vars(model))
    python, numbers = random.getstate(), np.random.get_state()
    for weight in weights:
        weight.grad = None
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


def computed_tokens(texts: Sequence[str], lm: LanguageModel) -> int:
    """The tokens that `evaluate` computes for `texts`: those of a long one lie in two windows."""
    if not texts:
        return 0
    tokens = tokenize(texts, lm)
    window = min(WINDOW, lm.context)
    lengths = tokens.starts[1:] - tokens.starts[:-1] + 2
    later = -(-np.maximum(lengths - window, 0) // min(STRIDE, window // 2))
    return int(np.minimum(lengths, window).sum() + (later * window).sum())


def _spread(texts: list[str], lm: LanguageModel) -> list[str]:
    """A few of `texts`, from the longest to the shortest at even distances."""
    return sorted(texts, key=len, reverse=True)[:: max(1, len(texts) // PROBE_TEXTS)]


def _validations(steps: int) -> int:
    """How many points of the curve are scored: see `Curve`."""
    every = max(LOGGING_STEPS, round(steps / 5 / LOGGING_STEPS) * LOGGING_STEPS)
    return len({step for step in (*range(every, steps + 1, every), steps) if step % LOGGING_STEPS == 0 or step == 1})


def _refuse_disk(needed: int, free: int, place: Path) -> None:
    if needed > free:
        raise MachineError(
            f"This fine-tuning needs {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free in {place}.",
            "Free some space, name an output_dir on another disk, or write fewer checkpoints (checkpoint_steps).",
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e9:.2f} GB"
