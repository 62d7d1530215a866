"""Progress bars with the remaining time, for anything that takes longer than two seconds."""

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
    """Whether to show progress; `NBTOOLS_PROGRESS=0` switches it off, so that stored outputs do not depend on the machine's speed."""
    return os.environ.get("NBTOOLS_PROGRESS", "1") != "0"


def progress(items: Iterable[Item], label: str, total: int | None = None, unit: str = "it") -> tqdm[Item]:
    """Iterate over `items`, with a progress bar and the remaining time, shown on standard error once two seconds have passed.

    items  what to iterate over
    label  in front of the bar
    total  the number of items, if they have no length
    unit   the name of one item

    The bar is text, because a widget's bar is stored in a notebook as a view without its model.
    """
    off = not progress_wanted()
    return tqdm(items, desc=label, total=total, unit=unit, delay=2, leave=False, disable=off, file=sys.stderr, mininterval=0.5)


def quiet_libraries() -> None:
    """Silence the libraries' own progress bars, and warnings that a reader cannot act on."""
    from huggingface_hub.utils import disable_progress_bars as quiet_hub
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not progress_wanted():
        quiet_hub()
        if datasets := sys.modules.get("datasets"):
            datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*pin_memory.*", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # peft asks transformers for it
