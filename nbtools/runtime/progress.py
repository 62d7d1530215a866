"""Progress with the time left, for anything that takes longer than two seconds."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable
from typing import TypeVar

from tqdm.std import tqdm

Item = TypeVar("Item")


def progress_wanted() -> bool:
    """False where `NBTOOLS_PROGRESS=0` turns everything off that moves: stored outputs must not depend on how fast a machine is."""
    return os.environ.get("NBTOOLS_PROGRESS", "1") != "0"


def progress(items: Iterable[Item], label: str, total: int | None = None, unit: str = "it") -> tqdm[Item]:
    """Iterate over `items`, showing a text bar with the time left once two seconds have passed.

    Text on purpose: a bar drawn by a widget is stored in a notebook as a view without a model.
    """
    off = not progress_wanted()
    return tqdm(items, desc=label, total=total, unit=unit, delay=2, leave=False, disable=off, file=sys.stderr, mininterval=0.5)


def quiet_libraries() -> None:
    """Silence the libraries' own progress bars and the notices that no reader can act on."""
    from huggingface_hub.utils import disable_progress_bars as quiet_hub
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not progress_wanted():
        quiet_hub()
    warnings.filterwarnings("ignore", message=".*pin_memory.*", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # peft asks transformers for it
