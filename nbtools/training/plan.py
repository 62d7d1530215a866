"""Where a planned fine-tuning is kept, and how processes share its batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.runtime import runs_folder
from nbtools.training.folders import check_output


def folder_of(plan: dict[str, Any], output_dir: str | Path | None) -> Path:
    """Where the finished run will lie: `output_dir`, or runs/tuned/<model>. Raises what `check_output` raises."""
    name = Path(plan["model"]).name
    if name in ("", ".."):  # "." and "..", which would be the folder of all tuned models, or the one above
        name = Path(plan["model"]).resolve().name or "model"
    return check_output(runs_folder() / "tuned" / name if output_dir is None else output_dir)


def share_of(batch_size: int, processes: int) -> int:
    """The blocks of a batch that each process computes."""
    if batch_size % processes:
        raise InputError(
            f"batch_size is {batch_size}, and {processes} processes cannot share it evenly.", "Choose a multiple of their number."
        )
    return batch_size // processes
