"""The configuration of a fine-tuning: one validated object for `finetune`, `estimate` and `python -m nbtools.training`."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from nbtools.data import Packed
from nbtools.errors import InputError
from nbtools.models import LanguageModel
from nbtools.values import Checked


@dataclass(frozen=True)
class FinetuneConfig(Checked):
    """The settings of a fine-tuning. None means the profile's value, or that it is measured.

    Every value is checked, and NumPy's numbers become Python's. Raises InputError for an invalid value.
    """

    learning_rate: float | None = None
    """Peak of the schedule. None: the profile's `learning_rate`, with adapters its `lora_learning_rate`."""
    batch_size: int | None = None
    """Blocks per forward and backward pass, of all processes together."""
    gradient_accumulation_steps: int = 1
    """Passes whose gradients are summed before each optimizer step: a step learns from this many batches, in the memory of one."""
    epochs: float | None = None
    """Passes over the blocks, where max_steps is None."""
    max_steps: int | None = None
    """Optimizer steps."""
    seed: int = 0
    """Of the order of the blocks, of dropout, and of the adapters' first values."""
    lora: bool = False
    """Whether low-rank adapters are trained instead of all weights (Hu et al., 2021; needs the extra [lora])."""
    dropout: float | None = 0.0
    """While training; None: the checkpoint's own. 0 by default: in a run of an epoch or so there is little to overfit."""
    dtype: str | None = None
    """ "fp32", "bf16" or "fp16" for the passes; None: measured. Weights are trained in fp32."""
    compile: bool | None = None
    """Whether to compile; None: when a probe says that the run is long enough to repay it."""
    threads: int | None = None
    """Of PyTorch; None: the fastest number that this machine allows."""
    checkpoint_steps: int | None = None
    """Optimizer steps from one checkpoint to the next; None: a fifth of the run."""
    report_to: str = "none"
    """Passed to Trainer: "none", "tensorboard", "mlflow" …"""

    def plan(self, lm: LanguageModel, train: Packed) -> dict[str, Any]:
        """Every value that decides the result, with None resolved; a resumed run must have the same.

        Raises InputError when `lm` is not a loaded model or `train` is not packed.
        """
        if not isinstance(lm, LanguageModel):
            raise InputError(f"lm is of type {type(lm).__name__}, not a loaded model.", 'Load one first: lm = nbtools.load_model("mini").')
        if not isinstance(train, Packed):
            raise InputError(
                f"train is of type {type(train).__name__}, not packed blocks.", "Pack the texts first: nbtools.pack(texts, lm)."
            )
        defaults = lm.defaults
        rate = self.learning_rate or (defaults.lora_learning_rate if self.lora else defaults.learning_rate)
        batch = self.batch_size or defaults.batch_size
        steps = self.max_steps
        if steps is None and self.epochs is not None:
            steps = max(1, math.ceil(self.epochs * len(train) / (batch * self.gradient_accumulation_steps)))
        return {
            "model": lm.profile.name if lm.profile else lm.name,
            "learning_rate": rate,
            "batch_size": batch,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "block_size": train.block_size,
            "max_steps": steps or defaults.max_steps,
            "seed": self.seed,
            "lora": self.lora,
            "dropout": self.dropout,
            "blocks_sha256": hashlib.sha256(train.input_ids.tobytes()).hexdigest(),
        }

    @property
    def wanted(self) -> dict[str, Any]:
        """What is measured where it is None."""
        return {"dtype": self.dtype, "compile": self.compile, "threads": self.threads}


def tokens_per_step(plan: dict[str, Any]) -> int:
    """Tokens that an optimizer step learns from."""
    return int(plan["batch_size"] * plan["gradient_accumulation_steps"] * plan["block_size"])
