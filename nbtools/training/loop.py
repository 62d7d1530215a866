"""The loop itself: Trainer with the arguments of a plan, over a model prepared for it."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nbtools.accel.fast_path import FastPath
from nbtools.errors import InputError, MachineError, RunError
from nbtools.models import note_training
from nbtools.runtime import device
from nbtools.training.callbacks import CleanStop, MarkComplete, StayFinite
from nbtools.training.folders import how_to_resume

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from nbtools.data import Packed
    from nbtools.models import LanguageModel
    from nbtools.training.blocks import OrderedBlocks

MakeOptimizer = Callable[[Any], torch.optim.Optimizer]


@contextlib.contextmanager
def dropping(model: Any, share: float | None) -> Iterator[None]:
    """Within this context every dropout layer drops `share` (None: what the checkpoint says)."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = layer.p if share is None else share
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.p = own


def refuse_reports(report_to: str) -> None:
    """Raise InputError where Trainer cannot report to `report_to`: unknown to it, or not installed."""
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        for callback in get_reporting_integration_callbacks([] if report_to == "none" else [report_to]):
            callback()
    except (ValueError, RuntimeError, ImportError, AssertionError) as error:
        problem = f"Trainer cannot report to {report_to!r}: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(problem, f"pip install {report_to}, or leave report_to at none.") from None


@contextlib.contextmanager
def _logs_kept(folder: Path) -> Iterator[None]:
    """Within this context TensorBoard's files go to `folder`; by default they lie among the checkpoints, and are gone with them."""
    name = "TENSORBOARD_LOGGING_DIR"
    before = os.environ.get(name)
    os.environ.setdefault(name, str(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def with_adapters(lm: LanguageModel) -> Any:
    """`lm`'s model with low-rank adapters (Hu et al., 2021) beside its frozen weights; their beginning is drawn at random."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MachineError("LoRA needs the package peft, which is not installed.", "Run: pip install peft   (the extra [lora])") from error
    gpt2 = lm.model.config.model_type == "gpt2"
    # GPT-2's layers are Conv1D: their weights are transposed against nn.Linear.
    target = ["c_attn", "c_proj", "c_fc"] if gpt2 else "all-linear"
    return get_peft_model(lm.model, LoraConfig(r=16, lora_alpha=32, target_modules=target, fan_in_fan_out=gpt2, task_type="CAUSAL_LM"))


def train(
    model: Any, packed: Packed | OrderedBlocks, folder: Path, plan: dict[str, Any], choices: dict[str, Any], fast: FastPath | None,
    share: int,
    callbacks: Sequence[TrainerCallback], *, save_steps: int | None = None, report_to: str = "none", checkpoint: Path | None = None,
    optimizer: MakeOptimizer | None = None, arguments: Mapping[str, Any] | None = None,
) -> int:  # fmt: skip
    """Train `model` from `checkpoint`, or from the beginning; the steps that were taken.

    share      blocks a step of this process
    optimizer  makes another optimizer than AdamW from the model; arguments: of Trainer's, instead of those of a fine-tuning

    Raises RunError when it was interrupted (a checkpoint is then saved) and when a number is not finite (that step is not).
    """
    from transformers import PrinterCallback, ProgressCallback, TrainingArguments

    from nbtools.training.trainer import CourseTrainer

    where = device().type
    settings: dict[str, Any] = {
        "output_dir": str(folder / "checkpoints"),
        "per_device_train_batch_size": share,
        # Trainer divides each pass's summed loss by the labelled tokens of all passes of the step: the mean over tokens, not over passes.
        "gradient_accumulation_steps": plan.get("gradient_accumulation_steps", 1),
        "max_steps": plan["max_steps"],
        "learning_rate": plan["learning_rate"],
        "warmup_steps": min(50, plan["max_steps"] // 10),
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused" if where in {"cpu", "cuda"} else "adamw_torch",
        "seed": plan["seed"],
        # The fast path casts inside its own forward pass; accelerate's way would copy every output to fp32.
        "bf16": choices["dtype"] == "bf16" and fast is None,
        "fp16": choices["dtype"] == "fp16",
        "use_cpu": where == "cpu",
        "use_liger_kernel": where == "cuda" and find_spec("liger_kernel") is not None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_steps": save_steps or max(1, plan["max_steps"] // 5),
        "save_total_limit": 2,
        "report_to": report_to,
        "disable_tqdm": True,
        "dataloader_pin_memory": where == "cuda",
    }
    cache, model.config.use_cache = model.config.use_cache, False  # with a cache, documents in a block would attend to each other
    stop, finite = CleanStop(), StayFinite(folder)
    watching = [MarkComplete(), stop, finite, *callbacks]
    with _logs_kept(folder / "logs"):  # read when the trainer is made
        trainer = CourseTrainer(
            model=model, args=TrainingArguments(**settings | dict(arguments or {})), train_dataset=packed, callbacks=watching, fast=fast,
            make_optimizer=optimizer, data_collator=getattr(packed, "collate", None),
        )  # fmt: skip
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    try:
        with stop.listening():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except pickle.UnpicklingError:  # transformers reads a checkpoint's pickles with weights_only, which stops at anything but numbers
        if checkpoint is None:
            raise
        problem = f"{checkpoint} holds something else than numbers, so it is not resumed from: it was not saved by a training."
        raise RunError(problem, "Delete that folder, and resume from an earlier one; or start anew with resume=False.") from None
    finally:
        if fast is not None:
            fast.release()
        else:  # accelerate leaves its autocast on the model, and a score in fp32 would not be one
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        model.config.use_cache = cache
        if plan["learning_rate"]:  # an estimate's steps change nothing
            note_training(model)
    if finite.error:
        raise finite.error
    done = trainer.state.global_step
    if done < plan["max_steps"]:
        problem = f"Stopped at step {done} of {plan['max_steps']}; a checkpoint is in {folder}."
        raise RunError(problem, how_to_resume())
    return done
