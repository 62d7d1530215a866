"""The training loop: Hugging Face's Trainer with the arguments of a configuration, over a model prepared for it."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from nbtools.accel.adamw import MasterAdamW
from nbtools.accel.fast_path import FastPath
from nbtools.errors import InputError, MachineError, RunError
from nbtools.models import LanguageModel, note_training
from nbtools.system import device
from nbtools.training.callbacks import MarkComplete, StopOnInterrupt, StopOnNonFinite
from nbtools.training.checkpoints import OpenRun, how_to_resume
from nbtools.training.choices import fast_path
from nbtools.training.config import ResolvedConfig


@contextlib.contextmanager
def override_dropout(model: Any, probability: float | None) -> Iterator[None]:
    """Within this context every dropout layer has this probability (None: its own)."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = layer.p if probability is None else probability
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.p = own


def add_lora(lm: LanguageModel) -> Any:
    """Return the model of `lm` with randomly initialized LoRA adapters (Hu et al., 2021) and frozen weights.

    Raises MachineError if peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MachineError("LoRA needs the package peft, which is not installed.", "Run: pip install peft   (the extra [lora])") from error
    gpt2 = lm.model.config.model_type == "gpt2"
    # GPT-2's layers are Conv1D: their weights are transposed against nn.Linear.
    target = ["c_attn", "c_proj", "c_fc"] if gpt2 else "all-linear"
    return get_peft_model(lm.model, LoraConfig(r=16, lora_alpha=32, target_modules=target, fan_in_fan_out=gpt2, task_type="CAUSAL_LM"))


def check_report_to(report_to: str) -> None:
    """Raise InputError where Trainer cannot report to `report_to`: unknown to it, or not installed."""
    try:
        for callback in get_reporting_integration_callbacks([] if report_to == "none" else [report_to]):
            callback()
    except (ValueError, RuntimeError, ImportError, AssertionError) as error:
        problem = f"Trainer cannot report to {report_to!r}: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(problem, f"pip install {report_to}, or set report_to to none.") from None


@contextlib.contextmanager
def _tensorboard_folder(folder: Path) -> Iterator[None]:
    """Within this context TensorBoard writes to `folder`; by default it writes among the checkpoints, which are deleted."""
    name = "TENSORBOARD_LOGGING_DIR"
    before = os.environ.get(name)
    os.environ.setdefault(name, str(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


class CourseTrainer(Trainer):
    """Trainer for a model that a FastPath may have changed.

    fast            None: the model computes as the library has it
    make_optimizer  makes the optimizer from the prepared model; None: AdamW, in the form that suits the FastPath

    A checkpoint holds the fp32 weights and the optimizer's moments, as any Trainer's does; bf16 copies are made from them again.
    """

    def __init__(self, *arguments: Any, fast: FastPath | None, make_optimizer: Callable[[Any], Any] | None = None, **keywords: Any) -> None:
        self.fast, self.make_optimizer = fast, make_optimizer
        super().__init__(*arguments, **keywords)

    def create_optimizer(self, model: Any = None) -> Any:
        # Not earlier: a checkpoint that is resumed from must first be loaded into the fp32 weights.
        if self.fast is not None:
            self.fast.engage()
            if self.fast.copies:
                betas = (self.args.adam_beta1, self.args.adam_beta2)
                own = {"masters": self.fast.masters, "lr": self.args.learning_rate, "betas": betas, "eps": self.args.adam_epsilon}
                self.optimizer_cls_and_kwargs = (MasterAdamW, own)
        if self.make_optimizer is not None and self.optimizer is None:
            self.optimizer = self.make_optimizer(self.model)
        return super().create_optimizer(model)

    def _clip_grad_norm(self, model: Any) -> Any:
        own = getattr(self.optimizer, "optimizer", self.optimizer)
        if isinstance(own, MasterAdamW):
            return own.clip(self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.fast is None:
            super()._save(output_dir, state_dict)
            return
        with self.fast.paused():
            super()._save(output_dir)


@dataclass
class Loop:
    """The training of one model on packed blocks."""

    model: Any
    """The model to train, with adapters if it has any."""
    blocks: Any
    """The training data: `Packed`, or another map-style data set of blocks."""
    run: OpenRun
    config: ResolvedConfig
    make_optimizer: Callable[[Any], torch.optim.Optimizer] | None = None
    """Makes the optimizer from the model; None: AdamW."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of Trainer that override those of a fine-tuning."""

    def __post_init__(self) -> None:
        self.fast: FastPath | None = fast_path(self.model, self.run.choices)

    def plain_model(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the model computes as the library has it, for an evaluation during training."""
        return self.fast.paused() if self.fast else contextlib.nullcontext()

    def train(self, callbacks: Sequence[TrainerCallback | type[TrainerCallback]]) -> int:
        """Train from the checkpoint, or from the beginning, and return the number of steps.

        Raises RunError when it was interrupted (a checkpoint is then saved) and when a loss is not finite (that step is not saved).
        """
        stop, finite = StopOnInterrupt(), StopOnNonFinite(self.run.folder)
        checkpoint, config = self.run.checkpoint, self.model.config
        use_cache = config.use_cache  # before the trainer is made, which changes it
        trainer = self._trainer([MarkComplete(), stop, finite, *callbacks])
        config.use_cache = False  # with a cache, documents in a block would attend to each other
        try:
            with stop.listening():
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except pickle.UnpicklingError:  # transformers reads a checkpoint's pickles with weights_only, which accepts tensors alone
            if checkpoint is None:
                raise
            problem = f"{checkpoint} holds something other than tensors, so it was not saved by a training and is not loaded."
            raise RunError(problem, "Delete that folder and resume from an earlier one, or start again with resume=False.") from None
        finally:
            if self.fast is not None:
                self.fast.release()
            else:  # accelerate leaves its autocast on the model, and a score in fp32 would not be one
                trainer.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            config.use_cache = use_cache
            if trainer.args.learning_rate:  # the steps of an estimate change nothing
                note_training(self.model)
        if finite.error:
            raise finite.error
        steps = int(trainer.state.global_step)
        if steps < self.config.max_steps:
            problem = f"Stopped at step {steps} of {self.config.max_steps}; a checkpoint is in {self.run.folder}."
            raise RunError(problem, how_to_resume())
        return steps

    def _trainer(self, callbacks: Sequence[Any]) -> Any:
        with _tensorboard_folder(self.run.folder / "logs"):  # read when the trainer is made
            trainer = CourseTrainer(
                model=self.model,
                args=TrainingArguments(**self._arguments() | dict(self.arguments)),
                train_dataset=self.blocks,
                callbacks=list(callbacks),
                data_collator=getattr(self.blocks, "collate", None),
                fast=self.fast,
                make_optimizer=self.make_optimizer,
            )
        for printing in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(printing)
        return trainer

    def _arguments(self) -> dict[str, Any]:
        """Trainer's arguments for a fine-tuning."""
        config, dtype, where = self.config, self.run.choices.dtype, device().type
        return {
            "output_dir": str(self.run.folder / "checkpoints"),
            "per_device_train_batch_size": config.per_device_batch_size,
            # Trainer divides each pass's summed loss by the labelled tokens of all passes of the step: a mean over tokens, not over passes.
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "max_steps": config.max_steps,
            "learning_rate": config.learning_rate,
            "warmup_steps": min(50, config.max_steps // 10),
            "lr_scheduler_type": "linear",
            "optim": "adamw_torch_fused" if where in {"cpu", "cuda"} else "adamw_torch",
            "seed": config.seed,
            # The fast path casts inside its own forward pass; accelerate's way would copy every output to fp32.
            "bf16": dtype == "bf16" and self.fast is None,
            "fp16": dtype == "fp16",
            "use_cpu": where == "cpu",
            "use_liger_kernel": where == "cuda" and find_spec("liger_kernel") is not None,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "save_steps": config.save_steps,
            "save_total_limit": 2,
            "report_to": config.report_to,
            "disable_tqdm": True,
            "dataloader_pin_memory": where == "cuda",
        }
