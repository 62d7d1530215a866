"""`nbtools sweep` and `nbtools report`: run one notebook with many parameters, and write a page that compares the runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbtools.cli.frame import command, read_pairs, stopped

if TYPE_CHECKING:
    from nbtools.runs import Executor, SweepPlan


@command(example="nbtools sweep sweep.yaml --out runs/rates --workers 2")
def sweep(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The sweep's YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The sweep's folder. Default: runs/FILE.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Number of runs at a time.")] = 1,
    executor: Annotated[str, typer.Option(metavar="NAME", help="local, dask or slurm.")] = "local",
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, such as tcp://10.0.0.1:8786.")] = None,
    need: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A requirement of each run: a Dask resource (GPU=1) or a parameter of submitit."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Repeat failed runs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the runs and estimate their cost on this machine; run nothing.")] = False,
    status: Annotated[Path | None, typer.Option(metavar="DIR", help="Show the status of the sweep in DIR, from any terminal.")] = None,
) -> int:
    """Run a notebook many times with different parameters, each combination once, and compare the results.

    FILE names the notebook and the parameters:

    \b
        notebook: 04_finetuning
        fixed: {max_steps: 60}
        grid: {learning_rate: [3e-4, 1e-3], max_reviews: [400, 1200]}
        seeds: 3

    Further keys: list (of runs) and random (count, seed, draw), in addition to grid or instead of it; metric, better, limits (minutes,
    memory_gb, runs) and keep (models: none, best, all). Running the same command again continues where it stopped and repeats nothing.
    """
    from rich.console import Console

    if status is not None:
        from nbtools.runs.display import show_status

        show_status(status, Console())
        return 0
    if file is None:
        raise typer.BadParameter("FILE is missing. Name the sweep's YAML file, or --status DIR.")
    from nbtools.runs import make_executor, read_plan
    from nbtools.storage import destination, runs_folder
    from nbtools.storage.destinations import SWEEP

    plan = read_plan(file)
    folder = destination(out or runs_folder() / file.stem, SWEEP, "--out")
    if dry_run:
        from nbtools.runs.budget import preview_sweep

        Console().print(preview_sweep(plan, folder, workers, executor == "local" and not scheduler).table())
        return 0
    return _run_sweep(plan, folder, make_executor(executor, folder, workers, scheduler, _needs(need or ())), retry_failed)


def _run_sweep(plan: SweepPlan, folder: Path, executor: Executor, retry_failed: bool) -> int:
    from nbtools.report import write_page
    from nbtools.runs import RunDisplay, SweepLines, run_sweep

    typed = ["nbtools", *sys.argv[1:]]
    with RunDisplay(SweepLines()) as display:
        display.say(f"{len(plan.rows)} runs of {plan.notebook.name}, by {executor.name}.")
        if plan.doubles:
            display.say(f"{plan.doubles} duplicates were removed.")
        try:
            progress = run_sweep(plan, folder, executor, display, retry_failed=retry_failed, command=typed)
        except KeyboardInterrupt as stop:
            return stopped(stop, folder, typed)
        finally:
            executor.close()
        page = write_page(folder)
        failed = progress.failed + progress.kept_failed
        if failed:
            display.say(f"{failed} of {progress.total} runs failed. Fix the cause, then run: {shlex.join([*typed, '--retry-failed'])}")
        elif not progress.done:
            display.say("Nothing was left to do.")
        display.say(f"Open {page}")
    return 1 if failed else 0


def _needs(given: Sequence[str]) -> dict[str, Any]:
    """The requirements of each run by name; integers are converted from text."""
    pairs = read_pairs(given, "--need")
    return {name: int(value) if value.lstrip("-").isdecimal() else value for name, value in pairs.items()}


@command(example="nbtools report runs/rates")
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run or of a sweep.")]) -> int:
    """Write one page about a run or a sweep, which needs neither a network nor scripts."""
    from nbtools.report import write_page

    print(f"Open {write_page(folder)}")
    return 0
