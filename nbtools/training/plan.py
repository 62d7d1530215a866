"""What a fine-tuning is planned to be: every value that decides its result, checked, with every None resolved."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.runtime import runs_folder
from nbtools.training.folders import check_output

if TYPE_CHECKING:
    from nbtools.data import Packed
    from nbtools.models import LanguageModel


def make_plan(
    lm: LanguageModel, train: Packed, rate: float | None, batch: int | None, epochs: float | None, steps: int | None, seed: int, lora: bool,
    dropout: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Every value that decides the result, with None resolved; a resumed run must have the same."""
    defaults = lm.defaults
    batch = defaults.batch_size if batch is None else batch
    rate = defaults.learning_rate * (10 if lora else 1) if rate is None else rate
    if batch < 1 or not rate > 0:
        raise InputError(f"batch_size is {batch} and learning_rate is {rate}.", "Both must be above zero.")
    if (epochs is not None and not epochs > 0) or (steps is not None and steps < 1):
        raise InputError(f"epochs is {epochs} and max_steps is {steps}.", "Give a number above zero, or None.")
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError(f"dropout is {dropout}.", "Give a share from 0 to below 1, or None for the checkpoint's own.")
    if steps is None:
        steps = defaults.max_steps if epochs is None else max(1, math.ceil(epochs * len(train) / batch))
    return {
        "model": lm.profile.name if lm.profile else lm.name,
        "learning_rate": rate,
        "batch_size": batch,
        "block_size": train.block_size,
        "max_steps": steps,
        "seed": seed,
        "lora": lora,
        "dropout": dropout,
        "blocks_sha256": hashlib.sha256(train.input_ids.tobytes()).hexdigest(),
    }


def folder_of(plan: dict[str, Any], output_dir: str | Path | None) -> Path:
    """Where the finished run will lie: `output_dir`, or runs/tuned/<model>. Raises what `check_output` raises."""
    name = Path(plan["model"]).name
    if name in ("", ".."):  # "." and "..", which would be the folder of all tuned models, or the one above
        name = Path(plan["model"]).resolve().name or "model"
    return check_output(runs_folder() / "tuned" / name if output_dir is None else output_dir)


def share_of(batch_size: int, processes: int) -> int:
    """The blocks of a step that each process computes."""
    if batch_size % processes:
        raise InputError(
            f"batch_size is {batch_size}, and {processes} processes cannot share it evenly.", "Choose a multiple of their number."
        )
    return batch_size // processes
