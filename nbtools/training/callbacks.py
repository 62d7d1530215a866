"""What happens beside the training steps: the curve, its live picture, a clean stop, and the marks on whole checkpoints."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.std import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nbtools.runtime import headless, progress
from nbtools.training.folders import COMPLETE

Draw = Callable[[list[dict[str, Any]], str], Any]  # rows of the curve and a title -> something that a notebook can display


class Curve(TrainerCallback):
    """Collects one row per logged step and appends it to `curve.jsonl`, where another process can follow it.

    A row holds step, loss (nats a token), learning_rate, grad_norm, tokens, seconds and, where measured,
    validation_perplexity.
    """

    def __init__(
        self, path: Path, tokens_per_step: int, validate: Callable[[], float] | None, validate_steps: int, draw: Draw | None
    ) -> None:
        self.path, self.tokens_per_step, self.validate, self.validate_steps = path, tokens_per_step, validate, validate_steps
        self.draw = draw
        self.rows: list[dict[str, Any]] = []
        self.seconds_before = 0.0
        self.started = time.perf_counter()
        self.bar: tqdm[Any] | None = None
        self.live = _live_display() if draw else None

    def restore(self, step: int) -> None:
        """Read the rows up to `step` again: a resumed run goes on from its checkpoint, not from its last row."""
        lines = self.path.read_text(encoding="utf8").splitlines() if self.path.is_file() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        self.rows = [row for row in rows if row["step"] <= step]
        self.seconds_before = self.rows[-1]["seconds"] if self.rows else 0.0
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf8")

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self.started = time.perf_counter()
        self.bar = progress(iter(()), "fine-tuning", total=state.max_steps, unit="step")
        self.bar.update(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **keywords: Any) -> None:
        if not logs or "loss" not in logs:
            return
        row = {
            "step": state.global_step,
            "loss": float(logs["loss"]),
            "learning_rate": float(logs["learning_rate"]),
            "grad_norm": float(logs.get("grad_norm", math.nan)),
            "tokens": state.global_step * self.tokens_per_step,
            "seconds": round(self.seconds, 3),
        }
        if not math.isfinite(row["loss"]):
            control.should_training_stop = True
            return
        if self.validate is not None and (state.global_step % self.validate_steps == 0 or state.global_step == state.max_steps):
            row["validation_perplexity"] = self.validate()
        self.rows.append(row)
        with self.path.open("a", encoding="utf8") as file:
            file.write(json.dumps(row) + "\n")
        if self.live is not None:
            self._draw(state.max_steps)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def _draw(self, last_step: int) -> None:
        done = self.rows[-1]["step"]
        left = (self.seconds / done) * (last_step - done) if done else 0.0
        assert self.live is not None and self.draw is not None
        self.live.update(self.draw(self.rows, f"step {done} of {last_step}, about {left / 60:.1f} minutes left"))


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once all of its files are written; only marked ones are resumed from."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        assert args.output_dir is not None
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class CleanStop(TrainerCallback):
    """Turns the first Ctrl-C (the notebook's interrupt button) into: end this step, save a checkpoint, stop.

    A second one stops at once. In a thread, where Python allows no signal handler, nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("Stopping after this step, with a checkpoint. Interrupt again to stop at once.", file=sys.stderr, flush=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.asked and state.global_step < state.max_steps:
            control.should_log = control.should_save = True
            control.should_training_stop = True


def _live_display() -> Any:
    """A display that a notebook can redraw, or None outside notebooks and where outputs are stored for later readers."""
    if headless() or "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return display(display_id=True)
