"""Run one notebook many times: each row of a plan once, each in a folder of its own, and a table of what came of them."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbtools
from nbtools.errors import RunError
from nbtools.notebooks.fingerprint import describe_machine, hash_package, library_versions
from nbtools.runs.executors import Executor, make_executor
from nbtools.runs.identity import run_id
from nbtools.runs.job import Job
from nbtools.runs.plan import SweepPlan, read_plan
from nbtools.runs.scheduler import Observer, Progress, Scheduler, Status
from nbtools.runs.store import SCHEMA, RunStore, drop_models, is_due, now
from nbtools.storage import destination, write_text
from nbtools.storage.destinations import SWEEP
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Is, Maybe
from nbtools.values import checked

if TYPE_CHECKING:
    import pandas

TRIES = 3  # of one run, where its kernel or its worker was lost; a notebook that raises is tried once
UNKNOWN = Maybe(str, "unknown")
RECORD = {
    "schema": Is(SCHEMA), "runs": [{"id": re.compile(r"[\w-]{1,64}"), "parameters": dict}], "metric": str, "better": Is("lower", "higher"),
    "varied": [str], "asked": Maybe(dict, {}), "command": Maybe([str], []), "keep": Maybe(str), "versions": Maybe(dict, {}),
    **dict.fromkeys(("created", "notebook", "title", "executor", "nbtools", "python", "package_sha256", "packages_sha256"), UNKNOWN),
    "machine": Maybe(
        {"processor": UNKNOWN, "system": UNKNOWN, "cores": Maybe(int, 0), "memory_bytes": Maybe(float, 0)},
        {"processor": "unknown", "system": "unknown", "cores": 0, "memory_bytes": 0},
    ),
}  # fmt: skip


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
    """Make every run of a sweep that is not over yet, and return the table of all: one row per run, best first.

    plan          a YAML file, or a mapping of the same form (see `nbtools.runs.plan`)
    out           the sweep's folder; the same call again resumes it
    workers       runs at a time
    executor      "local", "dask", "slurm", or an executor of your own
    scheduler     the address of a Dask scheduler
    retry_failed  make failed runs again

    The page about it is made by `nbtools report OUT`. Raises InputError for anything wrong with the plan, before a run starts.
    """
    from nbtools.runs.display import RunDisplay, SweepLines
    from nbtools.runs.results import read_table, write_tables

    checked_plan, folder = read_plan(plan), destination(out, SWEEP, "out")
    made = executor if not isinstance(executor, str) else make_executor(executor, folder, workers, scheduler)
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    try:
        with RunDisplay(SweepLines()) as display:
            run_sweep(checked_plan, folder, made, display, retry_failed=retry_failed, command=command)
    finally:
        if isinstance(executor, str):
            made.close()
    table = read_table(folder)
    write_tables(folder, table)
    return table


def jobs_of(plan: SweepPlan, folder: Path, threads: int | None = None, retry_failed: bool = False) -> list[Job]:
    """The runs of a plan, in its order, each once.

    threads  the cores that each may use; None for all
    """
    environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    known: dict[str, str] = {}
    jobs: dict[str, Job] = {}
    for row in plan.rows:
        run = run_id(plan.notebook, row, known)
        job = Job(
            notebook=str(plan.notebook.path), parameters=row, id=run, store=str(folder), metric=plan.metric, tries=TRIES,
            timeout_seconds=plan.limits.timeout_seconds, memory_bytes=plan.limits.memory_bytes, environment=environment,
            retry_failed=retry_failed, keep_model=plan.keep != "none",
        )  # fmt: skip
        jobs.setdefault(run, job)  # a value that is the notebook's own and one that is left out are the same run
    return list(jobs.values())


def run_sweep(
    plan: SweepPlan, folder: Path, executor: Executor, observer: Observer, *, retry_failed: bool = False, command: Iterable[str] = ()
) -> Progress:
    """Make every run of `plan` that is not over yet, in `folder`.

    retry_failed  make failed runs again as well
    command       what a person typed, for the record

    Raises RunError where another sweep is at work in the folder or a cluster is gone, MachineError where the disk is full. A
    KeyboardInterrupt is passed on once every run at work has ended; the same call then continues with what is left.
    """
    store = RunStore(folder)
    with store.exclusive():
        jobs = jobs_of(plan, folder, executor.threads, retry_failed)
        _write_record(plan, jobs, folder, executor, command)
        progress = Progress(len(jobs), executor.workers, plan.varied)
        best = _Best(plan, store, progress)
        due = []
        for job in jobs:
            status = store.ended(job.id)
            if status is None or is_due(status, retry_failed):
                due.append(job)
            else:
                progress.kept += 1
                progress.kept_failed += status["state"] == "failed"
                best.note(job, status)
        if progress.kept:
            observer.say(f"{progress.kept} of {progress.total} runs are over already, and kept.")
        return Scheduler(due, store, executor, observer, progress, ended=best.note).run()


@dataclass
class _Best:
    """Notes the best run in `progress`, and keeps only its models on the disk where the plan asks for that."""

    plan: SweepPlan
    store: RunStore
    progress: Progress
    run: str = ""

    def note(self, job: Job, status: Status) -> None:
        if status["state"] != "done":
            return
        value, best = float(status["value"]), self.progress.best
        better = best is None or self.plan.sign * value < self.plan.sign * best[1]
        worse_run = self.run if better else job.id
        if better:
            self.progress.best, self.run = (job.parameters, value), job.id
        if self.plan.keep == "best" and worse_run:
            drop_models(self.store.folder_of(worse_run))


def read_record(folder: Path) -> dict[str, Any]:
    """The `sweep.json` of a folder: what was asked, the runs, versions, machine. Raises RunError where there is none."""
    record = read_json(folder / "sweep.json", RECORD, "Run the sweep again; done runs are kept.", RunError, absent=None)
    if record is None:
        raise RunError(f"{folder} holds no sweep.", "Name the folder that was given to nbtools sweep with --out.")
    return dict(record)


def _write_record(plan: SweepPlan, jobs: list[Job], folder: Path, executor: Executor, command: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    packages = _list_packages()
    write_text(folder / "packages.txt", packages)
    try:
        created = read_record(folder)["created"]
    except RunError:
        created = now()
    record = {
        "schema": SCHEMA, "kind": "sweep", "created": created, "command": list(command), "asked": plan.asked,
        "notebook": str(plan.notebook.path), "title": plan.notebook.title, "metric": plan.metric, "better": plan.better, "keep": plan.keep,
        "varied": plan.varied, "runs": [{"id": job.id, "parameters": job.parameters} for job in jobs], "executor": executor.name,
        "nbtools": nbtools.__version__, "package_sha256": hash_package(), "versions": library_versions(),
        "packages_sha256": hashlib.sha256(packages.encode("utf8")).hexdigest(), "machine": describe_machine(),
        "python": sys.version.split()[0],
    }  # fmt: skip
    write_text(folder / "sweep.json", json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n")


def _list_packages() -> str:
    """Every installed distribution, as lines that pip could install again."""
    found = {(one.metadata["Name"] or "").lower().replace("_", "-"): one.version for one in distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)
