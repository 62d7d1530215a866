"""Run several notebooks in order into one folder, until the first failure; none is executed twice.

The folder holds `status.json` (what is done and under which fingerprint), the executed notebooks, `metrics.json`, and what the
notebooks themselves write (`tuned/`). A folder whose fingerprints no longer fit is renamed, never overwritten. A training that was
interrupted is resumed from its last checkpoint (NBTOOLS_RESUME).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbtools
from nbtools.notebooks.catalog import Notebook, choose_notebooks
from nbtools.notebooks.fingerprint import describe_machine, fingerprint, library_versions
from nbtools.notebooks.parameters import check_parameters
from nbtools.runs.executors import LocalExecutor
from nbtools.runs.job import Job
from nbtools.runs.metrics import write_course_metrics
from nbtools.runs.scheduler import Observer, Progress, Scheduler
from nbtools.runs.store import SCHEMA, SharedStore, now
from nbtools.storage import destination, keep_backup, runs_folder
from nbtools.storage.destinations import ANY_FOLDER, RUN


@dataclass
class Plan:
    """What is to be run, completely checked.

    notebooks   in order
    parameters  those that each notebook is given, by its name
    folder      where everything goes
    command     what a person typed, for the record
    """

    notebooks: list[Notebook]
    parameters: dict[str, dict[str, Any]]
    folder: Path
    command: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What a run did: the names of notebooks executed now, kept from before, and not reached; and of the failed one, or None."""

    folder: Path
    ran: list[str]
    kept: list[str]
    missing: list[str]
    failed: str | None = None


def plan_run(
    names: Iterable[str] = (), given: Mapping[str, Any] | None = None, profile: str | None = None, out: str | Path | None = None
) -> Plan:
    """Choose and check everything before anything starts. Raises InputError for any mistake in what was asked for.

    Without `out` the folder is `course` for the whole course, a notebook's name for one notebook and `selection` for several,
    in the folder for runs: the same command finds its own folder again.
    """
    names = list(names)
    notebooks = choose_notebooks(names)
    parameters = check_parameters(notebooks, given or {}, profile)
    default = "course" if not names else notebooks[0].name if len(notebooks) == 1 else "selection"
    folder = destination(runs_folder() / default if out is None else out, RUN, "--out")
    for values in parameters.values():
        if values.get("output_dir") is not None:  # relative to where the command was typed, not to the notebook
            values["output_dir"] = str(destination(values["output_dir"], ANY_FOLDER, "output_dir"))
    return Plan(notebooks, parameters, folder)


def run_notebooks(plan: Plan, observer: Observer, *, timeout_seconds: float | None = None) -> Outcome:
    """Execute what `plan` holds and is not done yet, in order, until the first failure.

    timeout_seconds  for each notebook, None for no limit

    Raises RunError where another run is at work in the folder, MachineError where the disk is full. A KeyboardInterrupt is passed on
    once the kernel is gone and `status.json` is up to date; the same call then continues with what is left.
    """
    store = SharedStore(plan.folder)
    with store.exclusive():
        marks = {notebook.name: fingerprint(notebook, plan.parameters[notebook.name]) for notebook in plan.notebooks}
        status = _open_folder(plan, store, marks, observer)
        kept = [name for name in marks if status["notebooks"][name]["state"] == "done"]
        jobs = [_job(plan, notebook, timeout_seconds) for notebook in plan.notebooks if notebook.name not in kept]
        if kept:
            observer.say(f"Already done with the same code, parameters and versions, and kept: {', '.join(kept)}.")
        executor = LocalExecutor(1)
        try:
            Scheduler(jobs, store, executor, observer, Progress(len(jobs), 1), stop_at_failure=True).run()
        finally:
            executor.close()
        status = store.read()
        write_course_metrics(plan.folder, status)
    states = {job.id: status["notebooks"][job.id]["state"] for job in jobs}
    ran = [name for name, state in states.items() if state == "done"]
    failed = next((name for name, state in states.items() if state == "failed"), None)
    return Outcome(plan.folder, ran, kept, [name for name in states if name not in ran], failed)


def _job(plan: Plan, notebook: Notebook, timeout_seconds: float | None) -> Job:
    parameters = plan.parameters[notebook.name]
    return Job(
        notebook=str(notebook.path), parameters=parameters, id=notebook.name, store=str(plan.folder), shared=True,
        timeout_seconds=timeout_seconds, environment={"NBTOOLS_RESUME": "0" if parameters.get("resume") is False else "1"},
        retry_failed=True,
    )  # fmt: skip


def _open_folder(plan: Plan, store: SharedStore, marks: Mapping[str, str], observer: Observer) -> dict[str, Any]:
    """The folder's status, with an entry for each planned notebook: kept, or begun afresh where something has changed."""
    old = store.read()
    entries: dict[str, Any] = old.get("notebooks", {})
    changed = [name for name, mark in marks.items() if name in entries and entries[name]["fingerprint"] != mark]
    if old and (changed or old["versions"] != library_versions()):
        kept = keep_backup(plan.folder)
        what = f"the code, the parameters or nbtools changed for {', '.join(changed)}" if changed else "other versions of the libraries"
        observer.say(f"{plan.folder.name} holds an earlier run ({what}). It is kept as {kept}; a fresh run begins.")
        old, entries = {}, {}
    for notebook in plan.notebooks:
        name = notebook.name
        entry = entries.get(name)
        if entry is None or entry["state"] != "done" or not (plan.folder / f"{name}.ipynb").is_file():
            entries[name] = {"state": "waiting", "fingerprint": marks[name], "parameters": plan.parameters[name]}
        entries[name]["title"] = notebook.title
    status = {
        "schema": SCHEMA,
        "command": plan.command,
        "created": old.get("created", now()),
        "nbtools": nbtools.__version__,
        "versions": library_versions(),
        "machine": describe_machine(),
        "notebooks": dict(sorted(entries.items())),
    }
    plan.folder.mkdir(parents=True, exist_ok=True)
    store.write(status)
    return status
