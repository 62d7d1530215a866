"""Hugging Face's Trainer with the fast path; callbacks, checkpoints and `report_to` are Trainer's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import Trainer

from nbtools.accel.adamw import MasterAdamW
from nbtools.accel.fast_path import FastPath


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
