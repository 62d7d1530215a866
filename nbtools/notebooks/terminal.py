"""Show a run in a terminal: a live bar with the time left, or plain lines where there is no terminal (a log, a pipe)."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table

from nbtools.errors import printable
from nbtools.notebooks.execution import Execution
from nbtools.notebooks.forecast import Forecast

LINE_SECONDS = 30.0  # between two progress lines where there is no terminal


class RunDisplay:
    """The observer of a run that a person reads. Use it as a context, so that the terminal is left as it was."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.names: list[str] = []
        self.forecast = Forecast(())
        self.live: Live | None = None
        self.last_name = ""
        self.line_due = 0.0

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()

    def say(self, text: str) -> None:
        self.console.print(escape(printable(text)), soft_wrap=True)

    def begin(self, names: list[str]) -> None:
        self.names, self.forecast = names, Forecast(names)

    def update(self, execution: Execution) -> None:
        """Called often; draws the live line in a terminal, or now and then one line elsewhere."""
        state = self._state(execution)  # each time, because the forecast learns from it
        if self.console.is_terminal:
            if self.live is None:
                self.live = Live(console=self.console, transient=True, auto_refresh=False)
                self.live.start()
            self.live.update(self._bar(execution, state), refresh=True)
            return
        if execution.notebook.name != self.last_name:
            self.last_name, self.line_due = execution.notebook.name, time.monotonic() + LINE_SECONDS
            self.say(f"[{self._number(execution)}/{len(self.names)}] {execution.notebook.name}: started")
        elif time.monotonic() >= self.line_due:
            self.line_due = time.monotonic() + LINE_SECONDS
            self.say(f"    {state}")

    def finish(self, execution: Execution) -> None:
        """One line that stays; after a failure the cell and the error as well."""
        self._end_live()
        self.forecast.finish(execution.notebook.name, execution.seconds)
        word = "[red]failed[/red]" if execution.failure else "[green]done[/green]  "
        number = escape(f"[{self._number(execution)}/{len(self.names)}]")
        cost = f"{clock(execution.seconds):>6}   {execution.peak_memory / 1e9:.2f} GB"
        self.console.print(f"{number} {word} {escape(printable(f'{execution.notebook.name:<16}'))} {cost}", soft_wrap=True)
        if execution.failure:
            self._show_failure(execution)

    def _show_failure(self, execution: Execution) -> None:
        failure = execution.failure
        assert failure is not None
        where = f", code cell {failure.cell} of {failure.total}" if failure.cell else ""
        self.console.print(f"\n[bold]{escape(printable(execution.notebook.name))}{where}: {failure.reason}.[/bold]", soft_wrap=True)
        if failure.source:
            self.console.print(
                Syntax(
                    printable(failure.source), "python", theme="ansi_dark", background_color="default", line_numbers=True, word_wrap=True
                )
            )
        for line in failure.lines:
            self.say(f"  {line}")
        if execution.output:
            self.say(f"\nThe notebook as far as it came: {execution.output}")

    def _bar(self, execution: Execution, state: str) -> Table:
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(execution.total, 1), completed=max(execution.cell - 1, 0), width=20)
        row.add_row(escape(f"[{self._number(execution)}/{len(self.names)}] {printable(execution.notebook.name)}"), bar, state)
        return row

    def _state(self, execution: Execution) -> str:
        name, elapsed = execution.notebook.name, execution.seconds
        if not execution.cell:
            return "starting its kernel"
        left = self.forecast.left(name, execution.cell, execution.total, elapsed)
        rest = f"about {clock(left)} left in all" if left is not None else "time left not known yet"
        return f"cell {execution.cell} of {execution.total}, {clock(elapsed)} so far, {rest}"

    def _number(self, execution: Execution) -> int:
        return self.names.index(execution.notebook.name) + 1 if execution.notebook.name in self.names else 1

    def _end_live(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours: "0:42", "12:05", "1:02:30"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
