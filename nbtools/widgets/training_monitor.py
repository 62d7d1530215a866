"""The training monitor: a fine-tuning run of this notebook or any other process, while it trains and afterwards."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from nbtools.errors import InputError, RunError
from nbtools.plots import Table
from nbtools.storage import resolve_path
from nbtools.system import interactive
from nbtools.texts import check_texts
from nbtools.training.checkpoints import check_output
from nbtools.training.run_state import RunState, read_run
from nbtools.values import checked
from nbtools.widgets.live import LiveView
from nbtools.widgets.requests import Request

POLL_SECONDS = 0.5
STOPPING = "stopping after this step, with a checkpoint"


class TrainingMonitor(LiveView):
    """Loss, perplexity, learning rate, speed and time left of a run; a sample at each evaluation; a button that stops and saves.

    output_dir  the folder of a run that is training in any process, was interrupted, or has finished
    process     the run's process, if this notebook started it
    log_file    what the process prints

    `TrainingMonitor.start(...)` starts a run in its own process, because a kernel receives no press of a button while a cell trains. A run
    continues when its monitor is closed, and another monitor can follow it. Raises InputError where there is no run.

    What is known of the run is in traits: it changes by itself, and must reach the browser while the kernel is busy with a cell.
    """

    view: ClassVar[str] = "training_monitor"
    modules: ClassVar[tuple[str, ...]] = ("learning_curve",)
    holds: ClassVar[tuple[str, ...]] = ("_follower",)

    title = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
    line = traitlets.Unicode().tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    samples: traitlets.List[Any] = traitlets.List().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    left = traitlets.Float(-1.0).tag(sync=True)
    """Seconds left; below zero if not known."""
    can_stop = traitlets.Bool(False).tag(sync=True)

    @checked()
    def __init__(self, output_dir: str | Path, *, process: subprocess.Popen[Any] | None = None, log_file: Path | None = None) -> None:
        self.output_dir, self.process, self.log_file = resolve_path(output_dir), process, log_file
        self._closed = threading.Event()
        super().__init__(title=f"run {self.output_dir.name}")
        if process is None:
            self._show_run(read_run(self.output_dir))
        else:
            self.state, self.line, self.can_stop = "waiting", "starting", True
        self._follower = threading.Thread(target=self._follow, name="training-monitor", daemon=True)
        if process is not None or self.state in {"waiting", "running"}:
            self._follower.start()

    @classmethod
    def start(
        cls,
        output_dir: str | Path,
        *,
        profile: str = "mini",
        prompts: Sequence[str] = ("The movie was",),
        resume: bool = False,
        **settings: Any,
    ) -> TrainingMonitor:
        """Start `python -m nbtools.training` with these settings and follow it.

        profile   the model to start from
        prompts   are continued at each evaluation
        resume    whether an interrupted run in the folder is continued
        settings  those of notebook 04: max_steps, max_reviews, learning_rate, batch_size, block_size, epochs, seed …; None is the default

        Where nobody is watching (papermill, nbconvert) the call returns when the run has ended, and raises RunError if it failed.
        """
        output_dir = check_output(output_dir)
        options = [f"--{name}={value}" for name, value in settings.items() if value is not None]
        options += [f"--sample={prompt}" for prompt in check_texts(prompts, "prompts")] + ["--resume"] * resume
        log = Path(tempfile.mkstemp(prefix="training-", suffix=".log")[1])
        with log.open("wb") as file:
            command = [sys.executable, "-m", "nbtools.training", f"--profile={profile}", f"--output_dir={output_dir}", *options]
            # In its own session, so that interrupting the notebook's kernel does not interrupt it; the button does.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        monitor = cls(output_dir, process=process, log_file=log)
        if not interactive():
            monitor.wait()
            if process.returncode:
                raise RunError(monitor.line, "Run the training cell again, or see its parameters.")
        return monitor

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the end of the run, at most `seconds`, and return its state then."""
        if self._follower.ident is not None:
            self._follower.join(seconds)
        return str(self.state)

    def close(self) -> None:
        if "_closed" in vars(self):
            self._closed.set()
        super().close()

    def on_stop(self, request: Request) -> None:
        """Finish the current step, save a checkpoint, and stop."""
        if self.process is None or self.process.poll() is not None:
            raise InputError("This run was not started here.", "Press Ctrl-C where it runs.")
        self.process.send_signal(signal.SIGINT)
        self.line = STOPPING

    def _follow(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            ended = self.process is not None and self.process.poll() is not None
            with contextlib.suppress(InputError):  # there is no folder yet
                self._show_run(read_run(self.output_dir))
            if ended:
                self._end()
                return
            if self.process is None and self.state not in {"waiting", "running"}:
                return

    def _end(self) -> None:
        """The process has ended: where the run's files do not say that it finished, its last lines say why."""
        assert self.process is not None and self.log_file is not None
        lines = self.log_file.read_text(encoding="utf8", errors="replace").strip().splitlines()
        if self.process.returncode and self.state != "broken":
            # An error or an interruption ends in two lines: what happened, and what to do.
            self.state = "stopped"
            self.line = " ".join(line.strip() for line in lines[-2:]) or f"ended with status {self.process.returncode}"
        self.can_stop = False
        self.log_file.unlink(missing_ok=True)

    def _show_run(self, run: RunState) -> None:
        with self.hold_sync():
            self.state, self.steps = run.state, int(run.plan.get("max_steps", 0))
            if self.line != STOPPING or run.state == "finished":
                self.line = run.line
            self.left = -1.0 if run.seconds_left is None or run.state == "finished" else run.seconds_left
            if len(run.rows) != len(self.rows):
                self.rows = run.rows
            if len(run.samples) != len(self.samples):
                self.samples = run.samples

    def static_html(self) -> str:
        columns = ["step", "loss", "learning rate", "tokens", "validation perplexity"]
        evaluated = [row for row in self.rows if "validation_perplexity" in row] or self.rows[-5:]
        curve = Table(columns, [_cells(row) for row in evaluated], f"{self.title}: {self.state}")
        texts = [[sample["step"], prompt + text] for sample in self.samples for prompt, text in sample["texts"]]
        return curve._repr_html_() + (Table(["step", "text"], texts)._repr_html_() if texts else "")

    def describe(self) -> str:
        return f"TrainingMonitor({self.output_dir.name!r}, steps={self.steps})"


def _cells(row: dict[str, Any]) -> list[str]:
    """A row of the curve, as it is shown."""
    perplexity = row.get("validation_perplexity")
    score = "" if perplexity is None else f"{perplexity:.1f}"
    return [str(row["step"]), f"{row['loss']:.3f}", f"{row['learning_rate']:.2g}", f"{row['tokens']:,}", score]
