"""The training monitor: a fine-tuning as it goes, from this notebook or any other process, and afterwards."""

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
from nbtools.runtime import interactive, resolve_path
from nbtools.texts import check_texts
from nbtools.training.checkpoints import check_output
from nbtools.training.run_state import RunState, read_run
from nbtools.values import checked
from nbtools.widgets.live import LiveView

POLL_SECONDS = 0.5


class TrainingMonitor(LiveView):
    """Loss, perplexity, learning rate, speed and time left of a run; what it would write at every score; a button that stops and saves.

    output_dir  the folder of a run: one that goes on in any process, that was interrupted, or that is finished

    `TrainingMonitor.start(...)` begins one, in a process of its own, because a notebook hears no button while a cell trains. A run
    goes on when its monitor is closed, and another one can follow it. Raises InputError where there is no run.
    """

    view: ClassVar[str] = "training_monitor"
    holds: ClassVar[tuple[str, ...]] = ("_thread",)

    title = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
    line = traitlets.Unicode().tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    samples: traitlets.List[Any] = traitlets.List().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    left = traitlets.Float(-1.0).tag(sync=True)  # seconds; below zero: not known
    can_stop = traitlets.Bool(False).tag(sync=True)

    @checked()
    def __init__(self, output_dir: str | Path, *, process: subprocess.Popen[Any] | None = None, log_file: Path | None = None) -> None:
        self.output_dir, self.process, self.log_file = resolve_path(output_dir), process, log_file
        self._stop = threading.Event()
        super().__init__(title=f"run {self.output_dir.name}")
        if process is None:
            self._take(read_run(self.output_dir))
        else:
            self.state, self.line, self.can_stop = "waiting", "starting", True
        self._thread = threading.Thread(target=self._follow, name="training-monitor", daemon=True)
        if process is not None or self.state in {"waiting", "running"}:
            self._thread.start()

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
        """Begin `python -m nbtools.training` with these settings and follow it.

        settings  those of notebook 04: max_steps, max_reviews, learning_rate, batch_size, block_size, epochs, seed …; None leaves one out
        prompts   what is continued at every score

        Where nobody looks on (papermill, nbconvert) the call returns when the run has ended, and raises RunError when it failed.
        """
        output_dir = check_output(output_dir)
        options = [f"--{name}={value}" for name, value in settings.items() if value is not None]
        options += [f"--sample={prompt}" for prompt in check_texts(prompts, "prompts")] + ["--resume"] * resume
        log = Path(tempfile.mkstemp(prefix="training-", suffix=".log")[1])
        with log.open("wb") as file:
            command = [sys.executable, "-m", "nbtools.training", f"--profile={profile}", f"--output_dir={output_dir}", *options]
            # A session of its own: interrupting the notebook's kernel must not reach it; its own button does.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        monitor = cls(output_dir, process=process, log_file=log)
        if not interactive():
            monitor.wait()
            if process.returncode:
                raise RunError(monitor.line, "Run the training cell again, or see its parameters.")
        return monitor

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the run that this monitor began or follows; its state then."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return str(self.state)

    def on_stop(self, content: dict[str, Any]) -> None:
        """End the step at hand, save a checkpoint, stop."""
        if self.process is None or self.process.poll() is not None:
            raise InputError("This run was not begun here.", "Press Ctrl-C where it runs.")
        self.process.send_signal(signal.SIGINT)
        self.line = "stopping after this step, with a checkpoint"

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            over = self.process is not None and self.process.poll() is not None
            with contextlib.suppress(InputError):  # it has not come as far as a folder
                self._take(read_run(self.output_dir))
            if over:
                self._end()
                return
            if self.process is None and self.state not in {"waiting", "running"}:
                return

    def _end(self) -> None:
        """The process has ended: what it said last counts, where the files do not say that it finished."""
        assert self.process is not None and self.log_file is not None
        said = self.log_file.read_text(encoding="utf8", errors="replace").strip().splitlines()
        if self.process.returncode and self.state != "broken":
            # The two lines of a mistake or an interruption: what, and what to do.
            self.state, self.line = (
                "stopped",
                " ".join(part.strip() for part in said[-2:]) or f"ended with status {self.process.returncode}",
            )
        self.can_stop = False
        self.log_file.unlink(missing_ok=True)

    def _take(self, run: RunState) -> None:
        with self.hold_sync():
            self.state, self.steps = run.state, int(run.plan.get("max_steps", 0))
            if not self.line.startswith("stopping") or run.state == "finished":
                self.line = run.line
            self.left = -1.0 if run.seconds_left is None or run.state == "finished" else run.seconds_left
            if len(run.rows) != len(self.rows):
                self.rows = run.rows
            if len(run.samples) != len(self.samples):
                self.samples = run.samples

    def still(self) -> str:
        head = ["step", "loss", "learning rate", "tokens", "validation perplexity"]
        scored = [row for row in self.rows if "validation_perplexity" in row] or self.rows[-5:]
        rows = [
            [
                row["step"],
                f"{row['loss']:.3f}",
                f"{row['learning_rate']:.2g}",
                f"{row['tokens']:,}",
                _shown(row.get("validation_perplexity")),
            ]
            for row in scored
        ]
        texts = [[sample["step"], prompt + text] for sample in self.samples for prompt, text in sample["texts"]]
        return Table(head, rows, f"{self.title}: {self.state}")._repr_html_() + (
            Table(["step", "text"], texts)._repr_html_() if texts else ""
        )

    def __repr__(self) -> str:
        return f"TrainingMonitor({self.output_dir.name}, {self.steps} steps)"


def _shown(perplexity: float | None) -> str:
    return "" if perplexity is None else f"{perplexity:.1f}"
