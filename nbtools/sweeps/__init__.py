"""Many runs of a notebook: expand a plan, make each run once, collect what came of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.runtime import destination
from nbtools.runtime.destinations import SWEEP
from nbtools.sweeps.control import JOBS, Progress, read_record, run_sweep
from nbtools.sweeps.executors import DaskExecutor, Executor, LocalExecutor, SlurmExecutor
from nbtools.sweeps.plan import SweepPlan, read_plan
from nbtools.sweeps.results import by_combination, read_table, write_tables
from nbtools.sweeps.terminal import SweepDisplay
from nbtools.values import checked

if TYPE_CHECKING:
    import pandas

__all__ = [
    "EXECUTORS",
    "DaskExecutor",
    "Executor",
    "LocalExecutor",
    "Progress",
    "SlurmExecutor",
    "SweepPlan",
    "by_combination",
    "make_executor",
    "read_plan",
    "read_record",
    "read_table",
    "run_sweep",
    "sweep",
    "write_tables",
]

EXECUTORS = ("local", "dask", "slurm", "submitit-local")


@checked(workers=(1, 1_000))
def sweep(
    plan: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    workers: int = 1,
    executor: str | Executor = "local",
    scheduler: str | None = None,
    retry_failed: bool = False,
) -> pandas.DataFrame:
    """Make every run of a sweep that is not over yet, and return the table of all: one row a run, best first.

    plan      a YAML file, or a mapping of the same form (see `nbtools.sweeps.plan`)
    out       its folder; the same call again goes on where it was left
    workers   runs at a time; executor: "local", "dask", "slurm", or one of your own; scheduler: the address of a Dask cluster
    retry_failed  make failed runs again

    The page about it is made by `nbtools report OUT`. Raises InputError for anything wrong with the plan, before a run starts.
    """
    checked, folder = read_plan(plan), destination(out, SWEEP, "out")
    made = executor if not isinstance(executor, str) else make_executor(executor, folder, workers, scheduler)
    try:
        with SweepDisplay() as display:
            run_sweep(checked, folder, made, display, retry_failed=retry_failed, command=[Path(sys.argv[0]).name, *sys.argv[1:]])
    finally:
        if isinstance(executor, str):
            made.close()
    write_tables(folder)
    return read_table(folder)


def make_executor(
    name: str, folder: Path, workers: int = 1, scheduler: str | None = None, values: Mapping[str, Any] | None = None
) -> Executor:
    """The executor called `name`. values: for Dask the resources of a run, for SLURM submitit's parameters. Raises InputError."""
    if workers < 1:
        raise InputError(f"There cannot be {workers} workers.", "Give a number from 1 on.")
    if scheduler is not None and name not in ("local", "dask"):
        raise InputError(f"A scheduler's address is for Dask, not for {name}.", "Leave --scheduler out, or --executor.")
    if name == "dask" or scheduler is not None:
        return DaskExecutor(scheduler, workers, values)
    if name == "local":
        return LocalExecutor(workers)
    if name in ("slurm", "submitit-local"):
        return SlurmExecutor(folder / JOBS, workers, values, "slurm" if name == "slurm" else "local")
    raise InputError(f"There is no executor {name!r}.", f"Choose one of: {', '.join(EXECUTORS)}.")
