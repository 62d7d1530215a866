"""Show a plan's progress in a terminal: a live bar with the time left, or plain lines where there is no terminal (a log, a pipe)."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.syntax import Syntax

from nbtools.errors import printable
from nbtools.notebooks.forecast import Forecast
from nbtools.runs.job import Job
from nbtools.runs.scheduler import Progress, Status
from nbtools.runs.store import RunStore
from nbtools.runs.sweeps import read_record
from nbtools.system import headless, progress_wanted, tolerant_output
from nbtools.texts import duration, gigabytes

DRAW_SECONDS = 0.25  # between two drawings of the live line
LINE_SECONDS = 30.0  # between two progress lines where there is no terminal


class RunDisplay:
    """The observer of a plan that a person reads. Use it as a context, so that the terminal is left as it was.

    `lines` chooses the words: `state` says how far the plan is, `counts` how full the live bar is, `started` what is said where there is no
    terminal when a job starts, `result` what stands behind "done" or "failed", and `failure` prints why.
    """

    def __init__(self, lines: CourseLines | SweepLines, console: Console | None = None) -> None:
        # In a notebook plain lines too: its output claims to be a terminal, so that programs colour theirs.
        in_kernel = type(sys.stdout).__module__.startswith("ipykernel")
        self.lines = lines
        self.console = console or Console(highlight=False, force_jupyter=False, force_terminal=False if in_kernel else None)
        self.context = ExitStack()
        self.bar: Bar | None = None
        self.due = 0.0
        self.seen: set[str] = set()  # jobs whose start was said

    def __enter__(self) -> RunDisplay:
        self.context.enter_context(tolerant_output())
        self.context.callback(self._end_bar)
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(escape(printable(text)), soft_wrap=True)

    def update(self, progress: Progress) -> None:
        """Called often; draws the live line in a terminal, or now and then one line elsewhere."""
        state = printable(self.lines.state(progress))  # each time, because a forecast learns from it
        if self.console.is_terminal:
            self._draw(state, progress)
            return
        for job in progress.running:
            if job.id not in self.seen and (text := self.lines.started(job, progress)):
                self.say(text)
                self.due = time.monotonic() + LINE_SECONDS
            self.seen.add(job.id)
        if time.monotonic() >= self.due:
            if self.due and state and progress_wanted():
                self.say(f"    {state}")
            self.due = time.monotonic() + LINE_SECONDS

    def finish(self, job: Job, status: Status, progress: Progress) -> None:
        """One line that stays; after a failure also why, and where."""
        self._end_bar()
        word = "[red]failed[/red]" if status["state"] == "failed" else "[green]done[/green]  "
        result = escape(printable(self.lines.result(job, status, progress)))
        self.console.print(f"{escape(f'[{progress.over}/{progress.total}]')} {word} {result}", soft_wrap=True)
        if status["state"] == "failed":
            self.lines.failure(job, status, self.console)

    def _draw(self, state: str, progress: Progress) -> None:
        if time.monotonic() < self.due or not state:
            return
        self.due = time.monotonic() + DRAW_SECONDS
        completed, total = self.lines.counts(progress)
        if self.bar is None:
            columns = BarColumn(bar_width=20), TextColumn("{task.description}", markup=False)
            self.bar = Bar(*columns, console=self.console, transient=True, auto_refresh=False)
            self.bar.add_task(state, total=total)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], description=state, completed=completed, total=total, refresh=True)

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class CourseLines:
    """What is said about notebooks that are executed in order."""

    def __init__(self) -> None:
        self.forecast: Forecast | None = None

    def state(self, progress: Progress) -> str:
        if self.forecast is None:
            self.forecast = Forecast(job.name for job in progress.due)
        if not progress.running:
            return ""
        job = progress.running[0]
        execution = progress.executions.get(job.id)
        where = f"[{progress.over + 1}/{progress.total}] {job.name}"
        if execution is None or not execution.cell:
            return f"{where}  starting its kernel"
        cell, total, elapsed = execution.cell, execution.total, execution.seconds
        told = f"{where}  cell {cell} of {total}, {duration(elapsed)} so far"
        for word, rough in (("about", False), ("very roughly", True)):
            if (left := self.forecast.left(job.name, cell, total, elapsed, rough=rough)) is not None:
                return f"{told}, {word} {duration(left)} left in all"
        return f"{told}, time left not known"

    def counts(self, progress: Progress) -> tuple[int, int]:
        execution = next(iter(progress.executions.values()), None)
        return (max(execution.cell - 1, 0), max(execution.total, 1)) if execution else (0, 1)

    def started(self, job: Job, progress: Progress) -> str:
        return f"[{progress.over + 1}/{progress.total}] {job.name}: started"

    def result(self, job: Job, status: Status, progress: Progress) -> str:
        if self.forecast:
            self.forecast.finish(job.name, status["seconds"])
        return f"{job.name:<16} {duration(status['seconds']):>12}   {gigabytes(status['peak_memory_bytes'])}"

    def failure(self, job: Job, status: Status, console: Console) -> None:
        failure = status["failure"]
        where = f", code cell {failure['cell']} of {failure['total']}" if failure["cell"] else ""
        console.print(f"\n[bold]{escape(printable(job.name))}{where}: {failure['reason']}.[/bold]", soft_wrap=True)
        if failure["source"]:
            source = printable(failure["source"])
            console.print(Syntax(source, "python", theme="ansi_dark", background_color="default", line_numbers=True, word_wrap=True))
        for line in failure["lines"]:
            console.print(escape(printable(f"  {line}")), soft_wrap=True)
        if (copy := Path(job.store, f"{job.name}.failed.ipynb")).is_file():
            console.print(escape(printable(f"\nThe notebook up to that cell: {copy}")), soft_wrap=True)


class SweepLines:
    """What is said about many runs of one notebook."""

    def state(self, progress: Progress) -> str:
        running = min(len(progress.running), progress.workers)
        parts = [f"{progress.over} of {progress.total} runs over"]
        parts += [f"{progress.failed} failed"] if progress.failed else []
        parts += [f"{running} running"] if running else []
        if progress.seconds_left is not None and progress.left:
            parts.append(f"about {duration(progress.seconds_left)} left")
        if progress.best:
            parameters, value = progress.best
            parts.append(f"best so far {value:.4f} with {describe_parameters(parameters, progress.varied)}")
        return ", ".join(parts)

    def counts(self, progress: Progress) -> tuple[int, int]:
        return progress.over, progress.total

    def started(self, job: Job, progress: Progress) -> str:
        return ""

    def result(self, job: Job, status: Status, progress: Progress) -> str:
        took = "" if headless() else duration(status.get("seconds"))
        value = "" if status["state"] == "failed" else f"{status['value']:.4f}   "
        return f"{took:>12}   {value}{describe_parameters(job.parameters, progress.varied)}"

    def failure(self, job: Job, status: Status, console: Console) -> None:
        failure = status["failure"]
        where = f", code cell {failure['cell']}" if failure.get("cell") else ""
        last = next((line for line in reversed(failure.get("lines", [])) if line.strip()), "")
        console.print(escape(printable(f"        {failure['reason']}{where}: {last.strip()}")), soft_wrap=True)


def show_status(folder: Path, console: Console) -> None:
    """Print how a sweep stands, from its folder alone."""
    record, store = read_record(folder), RunStore(folder)
    statuses = {run["id"]: store.state_of(run["id"]) for run in record["runs"]}
    states = [status["state"] for status in statuses.values()]
    counts = [f"{states.count(state)} {state}" for state in ("done", "failed", "running", "waiting", "interrupted") if state in states]
    console.print(f"{printable(record['title'])}: {', '.join(counts)}, of {len(states)}.", markup=False)
    done = [(status["value"], run) for run in record["runs"] if (status := statuses[run["id"]])["state"] == "done"]
    if done:
        value, run = (min if record["better"] == "lower" else max)(done, key=lambda pair: pair[0])
        given = describe_parameters(run["parameters"], record["varied"])
        console.print(f"Best: {record['metric']} {value:.4f} with {given} ({run['id']})", markup=False)
    for run in record["runs"]:
        status, text = statuses[run["id"]], ""
        if status["state"] == "running":
            text = f"cell {status['cell']} of {status['cells']}, {duration(status['seconds'])}" if status.get("cell") else "starting"
        elif status["state"] == "failed":
            text = status["failure"]["reason"]
        if text:
            console.print(f"  {run['id']}  {describe_parameters(run['parameters'], record['varied'])}: {text}", markup=False)


def describe_parameters(parameters: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """The parameters called `names`, or all where none of these is there, on one line for a terminal."""
    parameters = {name: parameters[name] for name in names if name in parameters} or parameters
    words = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in parameters.items())
    return printable(words)
