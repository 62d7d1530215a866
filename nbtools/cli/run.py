"""`nbtools run` and `nbtools refresh`: run notebooks in order, for a page about the results or for their stored outputs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbtools.cli.frame import Names, command, read_pairs, stopped
from nbtools.texts import duration, gigabytes

if TYPE_CHECKING:
    from nbtools.runs import Plan


@command(example='nbtools run 04 05 -p max_steps 20 -p prompt "The film"')
def run(
    notebooks: Names = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="The model to use: mini, smollm2, gpt2 …")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder for all results. Default: runs/course, or runs/NOTEBOOK.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", min=1, help="Time limit of each notebook. Default: no limit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate minutes, memory and disk on this machine; run nothing.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Show the notebooks and their parameters; run nothing.")] = False,
) -> int:
    """Run notebooks in order, each in its own process, and write a page about the results.

    Without NOTEBOOK, run the complete course. Running the same command again continues where it stopped and repeats nothing.
    With --dry-run, exit code 1 means that memory or disk is not sufficient.
    """
    if listing:
        return _list_notebooks(notebooks or ())
    from nbtools.runs import plan_run

    plan = plan_run(notebooks or (), read_pairs(parameter or (), "-p"), profile, out)
    if dry_run:
        from rich.console import Console

        from nbtools.runs.budget import preview

        budget = preview(plan)
        Console().print(budget.table())
        if budget.problem is not None:
            raise budget.problem
        return 0
    plan.command = ["nbtools", *sys.argv[1:]]
    return _run(plan, timeout)


def _run(plan: Plan, timeout_seconds: float | None) -> int:
    from nbtools.report import write_run_page
    from nbtools.runs import CourseLines, RunDisplay, SharedStore, run_notebooks

    with RunDisplay(CourseLines()) as display:
        try:
            outcome = run_notebooks(plan, display, timeout_seconds=timeout_seconds)
        except KeyboardInterrupt as stop:
            return stopped(stop, plan.folder, plan.command)
        page = write_run_page(plan.folder)
        if outcome.failed:
            if later := outcome.missing[1:]:
                display.say(f"Not run: {', '.join(later)}.")
            display.say(f"Fix the cause, then run the same command to continue from here. Page: {page}")
            return 1
        if not outcome.ran:
            display.say("Nothing was left to do.")
        else:
            entries = SharedStore(plan.folder).read()["notebooks"].values()
            total = duration(sum(entry.get("seconds", 0) for entry in entries))
            display.say(f"{len(entries)} notebook{'s' if len(entries) > 1 else ''} in {total}.")
        display.say(f"Open {page}")
    return 0


def _list_notebooks(names: Sequence[str]) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from nbtools.errors import printable
    from nbtools.notebooks import choose_notebooks, read_costs, read_parameters

    costs = read_costs()
    table = Table("Notebook", "Time", "Memory", "Parameters", box=None, pad_edge=False)
    for notebook in choose_notebooks(names):
        cost = costs.get(notebook.name)
        time, memory = duration(cost["seconds"] if cost else None), gigabytes(cost["peak_memory_bytes"] if cost else None)
        given = ", ".join(f"{parameter.name}={parameter.default!r}" for parameter in read_parameters(notebook).values())
        table.add_row(f"{escape(printable(notebook.name))}\n[dim]{escape(printable(notebook.title))}[/dim]", time, memory, escape(given))
    Console().print(table)
    return 0


@command(example="nbtools refresh 01_attention", hidden=True)
def refresh(notebooks: Names = None) -> int:
    """Execute notebooks and store their outputs in place, for developers of the course."""
    from nbtools.notebooks import choose_notebooks
    from nbtools.runs import refresh_notebooks

    refresh_notebooks(choose_notebooks(notebooks or ()))
    return 0
