"""Callbacks of the training loop: the curve and its live picture, stopping on Ctrl-C, stopping at the first non-finite value, and the
marks on complete checkpoints.

They need Trainer's `logging_steps=1`. Trainer logs a step before it saves it, so that a step which must not be saved can be refused;
and each checkpoint holds the loss of every step before it, so that the curve of a run that was killed and resumed equals that of an
uninterrupted one to the last digit. The cost: on a GPU the processor waits for every step's loss.
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
from nbtools.storage import write_text
from nbtools.storage.json_files import read_json_lines
from nbtools.system import headless, progress, say
from nbtools.training.checkpoints import BROKEN, keep_damaged, mark_complete, newest_checkpoint

LOGGING_STEPS = 10  # a row of the curve is the mean of this many steps

Draw = Callable[[list[dict[str, Any]], str], Any]  # rows of the curve and a title -> something that a notebook can display


def evaluated_steps(max_steps: int, points: int = 5) -> list[int]:
    """The steps of a run after which the curve is scored: about `points` of those that have a row, the last row included."""
    every = max(LOGGING_STEPS, round(max_steps / points / LOGGING_STEPS) * LOGGING_STEPS)
    return [step for step in sorted({*range(every, max_steps + 1, every), max_steps}) if _has_row(step)]


def _has_row(step: int) -> bool:
    return step == 1 or step % LOGGING_STEPS == 0


class StopOnNonFinite(TrainerCallback):
    """Stops the run at the first step whose loss or gradient norm is not finite; neither that step nor a later one is saved.

    Where a checkpoint is due, and at the end, the norm of the weights is checked too (17 ms for GPT-2 small). In fp16 infinite gradients
    are expected (the scaler skips such a step), so there the gradient norm is not checked. `error` is then the error to raise; the reason
    is also written to `folder`, so that a resume can say that it would end the same way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error: RunError | None = None

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, model: Any = None, **keywords: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        values = {"loss": logs["loss"]}
        if not args.fp16:
            values["gradient norm"] = logs.get("grad_norm", 0.0)
        if control.should_save or state.global_step == state.max_steps:
            values["norm of the weights"] = float(torch.nn.utils.get_total_norm([weight.detach() for weight in model.parameters()]))
        broken = next((name for name, value in values.items() if not math.isfinite(value)), None)
        if broken is None:
            return
        control.should_save, control.should_training_stop = False, True
        problem = f"The {broken} was {values[broken]}, which is not finite, at step {state.global_step} of {state.max_steps}."
        remedy = f"Start again with a learning_rate lower than {args.learning_rate:g}."
        if not args.learning_rate:  # the steps of an estimate, which change no weight
            remedy = 'The cause is the number format or the weights: try dtype="fp32", or load the model again.'
        if state.is_world_process_zero:
            last = self.folder / "checkpoints" / f"checkpoint-{state.global_step - 1}"
            if broken == "loss" and last.is_dir():
                keep_damaged(last)  # these weights gave that loss
            if good := newest_checkpoint(last.parent):
                remedy += f" The last good weights are in {good}."
            write_text(self.folder / BROKEN, json.dumps({"problem": problem}))
        self.error = RunError(problem, remedy)


class Curve(TrainerCallback):
    """Appends one row per ten steps to `curve.jsonl`, where another process can follow it.

    A row holds step, loss (nats per token, mean of the steps since the previous row), learning_rate, grad_norm, tokens, seconds and, at
    about `points` of them and the last, what `validate` returns. With several processes, only the first one keeps the curve.
    """

    def __init__(
        self,
        path: Path,
        tokens_per_step: int,
        validate: Callable[[int], dict[str, float]] | None = None,
        draw: Draw | None = None,
        points: int = 5,
        label: str = "fine-tuning",
    ) -> None:
        self.path, self.tokens_per_step, self.validate = path, tokens_per_step, validate
        self.draw, self.points, self.label = draw, points, label
        self.rows: list[dict[str, Any]] = []
        self.started = time.perf_counter()
        self.bar: tqdm[Any] | None = None
        self.live = _live_display() if draw else None

    @property
    def seconds(self) -> float:
        """Of the training so far, with those before an interruption."""
        return time.perf_counter() - self.started

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if not state.is_world_process_zero:
            return
        # A resumed run continues from its checkpoint, not from its last row.
        rows = read_json_lines(self.path, {"step": int, "seconds": float})
        self.rows = [row for row in rows if row["step"] <= state.global_step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self.started = time.perf_counter() - (self.rows[-1]["seconds"] if self.rows else 0.0)
        self.bar = progress(iter(()), self.label, total=state.max_steps, unit="step")
        self.bar.update(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **keywords: Any) -> None:
        step = state.global_step
        if not logs or "loss" not in logs or not _has_row(step) or not state.is_world_process_zero:
            return
        first = max(2, step - LOGGING_STEPS + 1) if step > 1 else 1  # step 1 has its own row: the loss of the untrained model
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
        if self.validate is not None and step in evaluated_steps(state.max_steps, self.points):
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
        left = (self.seconds / done) * (last_step - done)
        assert self.live is not None and self.draw is not None
        try:
            self.live.update(self.draw(self.rows, f"step {done} of {last_step}, about {left / 60:.1f} minutes left"))
        except Exception as error:  # a failed plot must not end a training
            print(f"The picture of the curve is left out. {one_line(error)}", file=sys.stderr)
            self.live = None


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once all of its files are written; only marked ones are resumed from.

    The last step is not saved: the model itself is written next, and Trainer, resumed at its last step, would take one more.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_save = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes its own random state
        if state.is_world_process_zero:
            assert args.output_dir is not None
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class StopOnInterrupt(TrainerCallback):
    """On the first Ctrl-C (a notebook's interrupt button), ends the step, saves a checkpoint and stops; a second one stops at once.

    In a thread, where Python allows no signal handler, Ctrl-C works as usual.
    """

    def __init__(self) -> None:
        self.interrupted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within this context Ctrl-C is handled."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        say("Stopping after this step, with a checkpoint. Interrupt again to stop at once.", file=sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if self.interrupted and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True


def _live_display() -> Any:
    """A display that a notebook can update, or None outside notebooks and where outputs are stored for later readers."""
    if headless() or "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    return display(display_id=True) if hasattr(get_ipython(), "kernel") else None
