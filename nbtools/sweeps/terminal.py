"""Show a sweep in a terminal: a live line with the time left, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from nbtools.errors import printable
from nbtools.notebooks.terminal import LINE_SECONDS, clock
from nbtools.runtime import headless, progress_wanted, tolerant_output
from nbtools.sweeps.control import Progress, read_record
from nbtools.sweeps.runs import Run, state_of

REFRESH_SECONDS = 0.5  # between two drawings of the live line


class SweepDisplay:
    """The observer of a sweep that a person reads. Use it as a context, so that the terminal is left as it was."""

    def __init__(self, console: Console | None = None) -> None:
        # In a notebook lines of text too: its output claims to be a terminal, so that programs colour theirs.
        in_kernel = type(sys.stdout).__module__.startswith("ipykernel")
        self.console = console or Console(highlight=False, force_jupyter=False, force_terminal=False if in_kernel else None)
        self.context = ExitStack()
        self.live: Live | None = None
        self.due = 0.0

    def __enter__(self) -> SweepDisplay:
        self.context.enter_context(tolerant_output())
        self.context.callback(self._end_live)
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def say(self, text: str) -> None:
        self.console.print(escape(printable(text)), soft_wrap=True)

    def update(self, progress: Progress) -> None:
        if time.monotonic() < self.due:
            return
        if self.console.is_terminal:
            self.due = time.monotonic() + REFRESH_SECONDS
            if self.live is None:
                self.live = Live(console=self.console, transient=True, auto_refresh=False)
                self.live.start()
            row = Table.grid(padding=(0, 1))
            row.add_row(ProgressBar(total=progress.total, completed=progress.total - progress.left, width=20), escape(describe(progress)))
            self.live.update(row, refresh=True)
        else:
            if self.due and progress_wanted():
                self.say(f"    {describe(progress)}")
            self.due = time.monotonic() + LINE_SECONDS

    def finish(self, run: Run, status: Mapping[str, Any], progress: Progress) -> None:
        """One line that stays for each run; after a failure why, and where."""
        number = escape(f"[{progress.total - progress.left}/{progress.total}]")
        failure = status.get("failure")
        word = "[red]failed[/red]" if failure else "[green]done[/green]  "
        took = "" if headless() else clock(status["seconds"]) if status.get("seconds") is not None else "?"
        value = "" if failure else f"{status['value']:.4f}   "
        self.console.print(f"{number} {word} {took:>6}   {value}{escape(words_of(run.parameters, progress.varied))}", soft_wrap=True)
        if failure:
            where = f", code cell {failure['cell']}" if failure.get("cell") else ""
            last = next((line for line in reversed(failure.get("lines", [])) if line.strip()), "")
            self.say(f"        {failure['reason']}{where}: {last.strip()}")

    def _end_live(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None


def describe(progress: Progress) -> str:
    """Where a sweep stands, on one line."""
    over, running = progress.total - progress.left, min(len(progress.running), progress.workers)
    parts = [f"{over} of {progress.total} runs over"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{running} running"] if running else []
    if progress.seconds_left is not None and progress.left:
        parts.append(f"about {clock(progress.seconds_left)} left")
    if progress.best:
        run, value = progress.best
        parts.append(f"best so far {value:.4f} with {words_of(run.parameters, progress.varied)}")
    return ", ".join(parts)


def words_of(parameters: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """The parameters called `names`, or all where there are none of these, on one line for a terminal."""
    parameters = {name: parameters[name] for name in names if name in parameters} or parameters
    words = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in parameters.items())
    return printable(words)


def show_status(folder: Path, console: Console) -> bool:
    """Print how a sweep stands, from its folder alone; whether every run is over and none failed."""
    record = read_record(folder)
    statuses = {run["id"]: state_of(folder, run["id"]) for run in record["runs"]}
    counts = {
        state: sum(status["state"] == state for status in statuses.values())
        for state in ("done", "failed", "running", "waiting", "interrupted")
    }
    console.print(
        f"{printable(record['title'])}: "
        + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        + f", of {len(statuses)}.",
        markup=False,
    )
    done = [(status["value"], run) for run in record["runs"] if (status := statuses[run["id"]])["state"] == "done"]
    if done:
        value, run = (min if record["better"] == "lower" else max)(done, key=lambda pair: pair[0])
        console.print(
            f"Best: {record['metric']} {value:.4f} with {words_of(run['parameters'], record['varied'])} ({run['id']})", markup=False
        )
    for run in record["runs"]:
        status = statuses[run["id"]]
        if status["state"] == "running":
            cell = f"cell {status['cell']} of {status['cells']}, {clock(status['seconds'])}" if status.get("cell") else "starting"
            console.print(f"  {run['id']}  {words_of(run['parameters'], record['varied'])}: {cell}", markup=False)
        if status["state"] == "failed":
            console.print(f"  {run['id']}  {words_of(run['parameters'], record['varied'])}: {status['failure']['reason']}", markup=False)
    return counts["done"] == len(statuses)
