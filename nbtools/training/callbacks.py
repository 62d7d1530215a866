"""What happens beside the training steps: the curve and its live picture, a clean stop, a stop at the first number that is none,
and the marks on whole checkpoints.

All of it needs Trainer's `logging_steps=1`. Trainer logs a step before it saves it, so that a step which must not be saved can
be refused; and each checkpoint holds the loss of every step before it, so that the curve of a run that was killed and resumed
is the curve of one that was not, to the last digit. On a GPU it means that the processor waits for every step's loss.
"""

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

import torch
from accelerate import PartialState
from tqdm.std import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nbtools.errors import RunError, one_line
from nbtools.runtime import headless, progress, say, write_text
from nbtools.runtime.foreign import read_json_lines
from nbtools.training.folders import BROKEN, mark_complete, newest_checkpoint, put_aside

LOGGING_STEPS = 10  # a row of the curve is the mean of so many steps

Draw = Callable[[list[dict[str, Any]], str], Any]  # rows of the curve and a title -> something that a notebook can display


class StayFinite(TrainerCallback):
    """Stops the run at the first step whose loss or gradient norm is not finite; nothing of that step, or later, is saved.

    Where a checkpoint is due, and at the end, the weights are looked at as well: their norm takes 17 ms for GPT-2 small. In fp16
    an infinite gradient is part of the game (the scaler skips that step), so there the loss alone decides.
    `error` is then what to raise; the reason also lies in `folder`, so that a resume can say that it would end the same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error: RunError | None = None

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, model: Any = None, **keywords: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        numbers = {"loss": logs["loss"]}
        if not args.fp16:
            numbers["gradient norm"] = logs.get("grad_norm", 0.0)
        if control.should_save or state.global_step == state.max_steps:
            numbers["norm of the weights"] = float(torch.nn.utils.get_total_norm([weight.detach() for weight in model.parameters()]))
        broken = next((name for name, number in numbers.items() if not math.isfinite(number)), None)
        if broken is None:
            return
        control.should_save, control.should_training_stop = False, True
        problem = f"The {broken} was {numbers[broken]}, not a number, at step {state.global_step} of {state.max_steps}."
        remedy = f"Start anew with a learning_rate lower than {args.learning_rate:g}."
        if not args.learning_rate:  # an estimate's steps, which change no weight
            remedy = 'The number format or the weights are to blame: try dtype="fp32", or load the model again.'
        if state.is_world_process_zero:
            remedy += self._say_what_is_left(state.global_step, broken)
            write_text(self.folder / BROKEN, json.dumps({"problem": problem}))
        self.error = RunError(problem, remedy)

    def _say_what_is_left(self, step: int, broken: str) -> str:
        last = self.folder / "checkpoints" / f"checkpoint-{step - 1}"
        if broken == "loss" and last.is_dir():
            put_aside(last)  # these weights gave that loss
        good = newest_checkpoint(last.parent)
        return f" The last good weights are in {good}." if good else ""


class Curve(TrainerCallback):
    """Collects one row per ten steps and appends it to `curve.jsonl`, where another process can follow it.

    A row holds step, loss (nats a token, the mean of the steps since the row before), learning_rate, grad_norm, tokens, seconds
    and, where `validate` was asked, its figures. With several processes, the first one alone keeps the curve.
    """

    def __init__(
        self, path: Path, tokens_per_step: int, validate: Callable[[int], dict[str, float]] | None, validate_steps: int, draw: Draw | None,
        label: str = "fine-tuning",
    ) -> None:  # fmt: skip
        self.path, self.tokens_per_step, self.validate, self.validate_steps = path, tokens_per_step, validate, validate_steps
        self.draw, self.label = draw, label
        self.rows: list[dict[str, Any]] = []
        self.seconds_before = 0.0
        self.started = time.perf_counter()
        self.bar: tqdm[Any] | None = None
        self.live = _live_display() if draw else None

    def restore(self, step: int) -> None:
        """Read the rows up to `step` again: a resumed run goes on from its checkpoint, not from its last row."""
        self.rows = [row for row in read_json_lines(self.path, {"step": int, "seconds": float}) if row["step"] <= step]
        self.seconds_before = self.rows[-1]["seconds"] if self.rows else 0.0
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if args.logging_steps != 1:
            raise ValueError("the curve and the check for numbers need logging_steps=1")
        if not state.is_world_process_zero:
            return
        self.restore(state.global_step)
        self.started = time.perf_counter()
        self.bar = progress(iter(()), self.label, total=state.max_steps, unit="step")
        self.bar.update(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **keywords: Any) -> None:
        step = state.global_step
        due = step == 1 or step % LOGGING_STEPS == 0
        if not logs or "loss" not in logs or not due or not state.is_world_process_zero:
            return
        first = max(2, step - LOGGING_STEPS + 1) if step > 1 else 1  # step 1 is a row of its own: the loss of the untouched model
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry and entry["step"] >= first]
        norm = float(logs.get("grad_norm", math.nan))
        row: dict[str, Any] = {
            "step": step,
            "loss": math.fsum(losses) / len(losses),
            "learning_rate": float(logs["learning_rate"]),
            "grad_norm": norm if math.isfinite(norm) else None,
            "tokens": step * self.tokens_per_step,
            "seconds": round(self.seconds, 3),
        }
        if not math.isfinite(row["loss"]):
            return
        if self.validate is not None and (step % self.validate_steps == 0 or step == state.max_steps):
            row |= self.validate(step)
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
        try:
            self.live.update(self.draw(self.rows, f"step {done} of {last_step}, about {left / 60:.1f} minutes left"))
        except Exception as error:  # a picture is no reason to lose a training
            print(f"The picture of the curve is left out. {one_line(error)}", file=sys.stderr)
            self.live = None


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once all of its files are written; only marked ones are resumed from.

    The last step is not saved: the model itself is written next, and Trainer, resumed at its last step, takes one more.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_save = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes its own random state
        if state.is_world_process_zero:
            assert args.output_dir is not None
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


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
        say("Stopping after this step, with a checkpoint. Interrupt again to stop at once.", file=sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.asked and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True


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
