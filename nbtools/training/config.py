"""Configuration of fine-tuning: one validated object for `finetune`, `estimate` and `python -m nbtools.training`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from accelerate import PartialState

from nbtools.data import Packed
from nbtools.errors import InputError
from nbtools.models import LanguageModel
from nbtools.system import device
from nbtools.values import Checked

# Settings that decide the result of a run; the others decide how it is computed.
DECISIVE = ("learning_rate", "batch_size", "gradient_accumulation_steps", "max_steps", "seed", "lora", "dropout")


@dataclass(frozen=True)
class FinetuneConfig(Checked):
    """Settings of fine-tuning. None means the profile's value, or a measured value.

    Every value is checked, and NumPy's numbers become Python's. Raises InputError for an invalid value.
    """

    learning_rate: float | None = None
    """Peak of the learning rate schedule; None: the profile's `learning_rate`, or with LoRA its `lora_learning_rate`."""
    batch_size: int | None = None
    """Blocks per forward and backward pass, over all processes; None: the profile's."""
    gradient_accumulation_steps: int = 1
    """Passes whose gradients are summed before each optimizer step."""
    epochs: float | None = None
    """Passes over all blocks, used where max_steps is None."""
    max_steps: int | None = None
    """Optimizer steps; None: from epochs, or the profile's."""
    seed: int = 0
    """Seed of the order of the blocks, of dropout, and of the adapters' initial values."""
    lora: bool = False
    """Train low-rank adapters instead of all weights (Hu et al., 2021; needs the extra `lora`)."""
    dropout: float | None = 0.0
    """Dropout probability during training; None: the checkpoint's. 0 by default, because a run of about an epoch hardly overfits."""
    dtype: str | None = None
    """Number format of the passes: fp32, bf16 or fp16; None: measured. Weights are trained in fp32."""
    compile: bool | None = None
    """Compile the transformer blocks with torch.compile, for GPT-2 and Llama models on a CPU; None: do not."""
    threads: int | None = None
    """Threads that PyTorch uses; None: the fastest number, measured."""
    checkpoint_steps: int | None = None
    """Optimizer steps between two checkpoints; None: a fifth of the run."""
    report_to: str = "none"
    """Where Trainer reports to: none, tensorboard, mlflow or another integration."""

    @classmethod
    def pick(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `values` that are settings of a fine-tuning."""
        return {field.name: values[field.name] for field in fields(cls) if field.name in values}

    def resolve(self, lm: LanguageModel, train: Packed) -> ResolvedConfig:
        """This configuration with the profile's values in place of None, and epochs converted to optimizer steps.

        Raises InputError when `lm` is not a loaded model or `train` is not packed.
        """
        if not isinstance(lm, LanguageModel):
            raise InputError(f"lm is of type {type(lm).__name__}, not a loaded model.", 'Load one first: lm = nbtools.load_model("mini").')
        if not isinstance(train, Packed):
            raise InputError(
                f"train is of type {type(train).__name__}, not packed blocks.", "Pack the texts first: nbtools.pack(texts, lm)."
            )
        defaults = lm.defaults
        batch_size, max_steps = self.batch_size or defaults.batch_size, self.max_steps
        if max_steps is None and self.epochs is not None:
            max_steps = max(1, math.ceil(self.epochs * len(train) / (batch_size * self.gradient_accumulation_steps)))
        resolved = {
            "learning_rate": self.learning_rate or (defaults.lora_learning_rate if self.lora else defaults.learning_rate),
            "batch_size": batch_size,
            "max_steps": max_steps or defaults.max_steps,
        }
        return ResolvedConfig(**vars(self) | resolved)


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(FinetuneConfig):
    """A configuration without open choices: the values that the training loop uses."""

    learning_rate: float
    batch_size: int
    max_steps: int

    @property
    def per_device_batch_size(self) -> int:
        """Blocks per pass of this process. Raises InputError when the processes cannot share a batch evenly."""
        processes = PartialState(cpu=device().type == "cpu").num_processes
        if self.batch_size % processes:
            raise InputError(
                f"batch_size is {self.batch_size}, and {processes} processes cannot share it evenly.", "Choose a multiple of their number."
            )
        return self.batch_size // processes

    @property
    def save_steps(self) -> int:
        """Optimizer steps between two checkpoints."""
        return self.checkpoint_steps or max(1, self.max_steps // 5)

    def tokens_per_step(self, block_size: int) -> int:
        """Tokens per optimizer step, over all processes and passes."""
        return self.batch_size * self.gradient_accumulation_steps * block_size

    def to_plan(self, lm: LanguageModel, train: Packed) -> dict[str, Any]:
        """Return the content of `plan.json`: every value that decides the result. A resumed run must have the same values."""
        settings = {name: getattr(self, name) for name in DECISIVE}
        digest = hashlib.sha256(train.input_ids.tobytes()).hexdigest()
        return {"model": base_name(lm), "block_size": train.block_size, **settings, "blocks_sha256": digest}


def base_name(lm: LanguageModel) -> str:
    """The name under which a run records the model that it began with."""
    return lm.profile.name if lm.profile else lm.name
