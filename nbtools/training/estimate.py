"""Estimate the time, memory and disk space of a fine-tuning on this machine with a few probe steps of the same Trainer."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from nbtools.data import Packed
from nbtools.errors import MachineError
from nbtools.evaluation import BATCH_TOKENS, computed_tokens
from nbtools.generation import release
from nbtools.models import LanguageModel, exclusively, save_model
from nbtools.system import keep_freed_memory, quiet_libraries, seed_everything, wait_for_rest
from nbtools.texts import check_texts, duration, gigabytes
from nbtools.training.callbacks import evaluated_steps
from nbtools.training.checkpoints import output_folder
from nbtools.training.choices import TrainingChoices, first_batch, measure_choices, undisturbed
from nbtools.training.config import FinetuneConfig, ResolvedConfig, base_name
from nbtools.training.finetune import VALIDATION_SAMPLE
from nbtools.training.loop import add_lora, override_dropout
from nbtools.training.memory import PeakMemory, check_least_memory, check_memory, free_memory, held_memory
from nbtools.training.probe import Probe, size_of


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of `finetune` with the same arguments and these `choices` in this process."""

    parts: dict[str, float]
    """Seconds by part: steps, validation, checkpoints, saving, scoring."""
    steps: int
    """Optimizer steps of the run."""
    step_seconds: float
    memory_bytes: int
    """Peak memory of the process."""
    free_memory_bytes: int
    """Memory that the process holds, plus free memory."""
    disk_bytes: int
    """Peak disk space."""
    kept_bytes: int
    """Disk space after the run."""
    free_disk_bytes: int
    choices: TrainingChoices
    """The measured choices; pass them to `finetune`."""
    probe_seconds: float
    """Duration of the estimate itself."""
    disturbance: str = ""
    """Why the probe was disturbed, or "". If it was, the times are only right if the disturbance lasts."""

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, **asdict(self), "choices": self.choices.to_dict()}

    def __repr__(self) -> str:
        long = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.parts.items() if seconds >= 0.5)
        compiled = ", compiled" if self.choices.compile else ""
        disk = f"{gigabytes(self.disk_bytes)} while it trains, {gigabytes(self.kept_bytes)} kept, of {gigabytes(self.free_disk_bytes)}"
        time = f"{duration(self.seconds)} for {self.steps} steps{f' ({long})' if long else ''}"
        if self.disturbance:
            time = f"time not known, because the probe was disturbed: {self.disturbance}; if this continues, {time}"
        return (
            f"{time}\n"
            f"memory: {gigabytes(self.memory_bytes)} of {gigabytes(self.free_memory_bytes)}; disk: {disk}\n"
            f"in {self.choices.dtype}{compiled}, threads: {self.choices.threads}; probed in {duration(self.probe_seconds)}"
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
    """Estimate the time (seconds), memory and disk space (bytes) of `finetune` with the same arguments, and what it will choose.

    Pass the estimate's `choices` to `finetune`, so that nothing is measured a second time.

    lm          the model
    train       the blocks to train on
    output_dir  final folder of the run, as in `finetune`
    validation  texts scored during training, as in `finetune`
    scoring     texts scored before and after training, each as often as it occurs here
    settings    the fields of `FinetuneConfig`, as in `finetune`

    It takes eight steps of the run with a learning rate of zero, or up to 22 until the fastest agree, writes one checkpoint next to
    `output_dir` and scores a few texts. Afterwards weights, gradients, random states, threads and disk are as before.

    Raises MachineError, with advice, if memory or disk is too small (before the probe if the shapes alone show it), and the errors of
    `finetune` for an invalid configuration.
    """
    start = time.perf_counter()
    wait_for_rest()  # of what was computed before
    config = FinetuneConfig.from_options("estimate", settings, ("output_dir", "validation", "scoring")).resolve(lm, train)
    disk = next(folder for folder in output_folder(base_name(lm), output_dir).parents if folder.is_dir())  # the nearest that exists
    sample = [] if validation is None else check_texts(validation, "validation")[:VALIDATION_SAMPLE]
    scored = check_texts(scoring, "scoring")
    quiet_libraries()
    release(lm.model)  # as finetune does
    free, free_disk = free_memory() + held_memory(), shutil.disk_usage(disk).free
    texts = _probe_texts(lm, sample or scored[:VALIDATION_SAMPLE])
    with undisturbed(lm.model), tempfile.TemporaryDirectory(prefix=".probe-", dir=disk) as folder, PeakMemory() as peak:
        probe = Probe(lm, texts, Path(folder))
        choices = _run_probe(probe, train, config, peak, (free, free_disk, disk))
        saving = time.perf_counter()
        model_bytes = size_of(save_model(lm, Path(folder, "model")))
        saving = time.perf_counter() - saving
    check_memory(peak.bytes, free, lm.model, config.per_device_batch_size, train.block_size)
    checkpoints = (config.max_steps - 1) // config.save_steps
    disk_bytes = max(min(checkpoints, 3) * probe.checkpoint_bytes, min(checkpoints, 2) * probe.checkpoint_bytes + model_bytes)
    _check_disk(disk_bytes, free_disk, disk)
    seconds_per_token = probe.scoring_seconds / max(1, computed_tokens(lm, texts))
    return Estimate(
        parts={
            "steps": config.max_steps * probe.step_seconds,
            "validation": len(evaluated_steps(config.max_steps)) * computed_tokens(lm, sample) * seconds_per_token,
            "checkpoints": checkpoints * probe.checkpoint_seconds,
            "saving": saving,
            "scoring": computed_tokens(lm, scored) * seconds_per_token,
        },
        steps=config.max_steps,
        step_seconds=probe.step_seconds,
        memory_bytes=peak.bytes,
        free_memory_bytes=free,
        disk_bytes=disk_bytes,
        kept_bytes=model_bytes,
        free_disk_bytes=free_disk,
        choices=choices,
        probe_seconds=time.perf_counter() - start,
        disturbance=probe.disturbance(),
    )


def _probe_texts(lm: LanguageModel, texts: Sequence[str]) -> list[str]:
    """Texts that fill at least one batch of `evaluate`, evenly spaced from the longest to the shortest; all where there are fewer."""
    count = math.ceil(BATCH_TOKENS * len(texts) / max(1, computed_tokens(lm, texts)))
    return sorted(texts, key=len, reverse=True)[:: max(1, len(texts) // max(1, count))]


def _run_probe(probe: Probe, train: Packed, config: ResolvedConfig, peak: PeakMemory, limits: tuple[int, int, Path]) -> TrainingChoices:
    """Make the choices and run the probe with them, checking memory and disk before each.

    limits  bytes of memory and of disk that the fine-tuning can have, and a folder on that disk
    """
    lm, shape = probe.lm, (config.per_device_batch_size, train.block_size)
    memory, disk, folder = limits
    seed_everything(config.seed)
    with contextlib.ExitStack() as undo:
        model = lm.model
        if config.lora:
            model = add_lora(lm)
            undo.callback(model.unload)
        undo.enter_context(keep_freed_memory())
        undo.enter_context(override_dropout(model, config.dropout))
        check_least_memory(model, *shape)
        choices = measure_choices(model, first_batch(train, config.per_device_batch_size), config)
        torch.set_num_threads(choices.threads)
        check_least_memory(model, *shape, choices)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        # Where passes were run to choose, their peak is known, and the optimizer's moments come on top.
        check_memory(peak.bytes + (6 if choices.bf16_copies else 8) * trained, memory, model, *shape)
        _check_disk(4 * lm.parameters + 6 * trained, disk, folder)  # one checkpoint, at least
        probe.lm = replace(lm, model=model)
        probe.run(train, config, choices)
    return choices


def _check_disk(needed: int, free: int, folder: Path) -> None:
    if needed > free:
        raise MachineError(
            f"This fine-tuning needs {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free in {folder}.",
            "Free some space, name an output_dir on another disk, or write fewer checkpoints (checkpoint_steps).",
        )
