"""Run several notebooks into one folder, so that a run can be interrupted, continued, and never done twice.
A training that was interrupted is continued from its last checkpoint (NBTOOLS_RESUME, see `nbtools.training.checkpoints`).

The folder holds `status.json` (what is done and under which fingerprint), the executed notebooks, `metrics.json`, and what the
notebooks themselves write (`tuned/`). A folder whose fingerprints no longer fit is renamed, never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import nbtools
from nbtools.errors import RunError
from nbtools.notebooks.catalog import Notebook, choose_notebooks
from nbtools.notebooks.execution import Execution, execute
from nbtools.notebooks.fingerprint import describe_machine, fingerprint, library_versions
from nbtools.notebooks.memory import MEMORY_METHOD
from nbtools.notebooks.parameters import check_parameters
from nbtools.runtime import alone, destination, runs_folder, set_aside, write_text
from nbtools.runtime.destinations import ANY_FOLDER, RUN
from nbtools.runtime.foreign import Is, Maybe, read_json, read_object

SCHEMA = 1
ENTRY = {
    "state": str, "fingerprint": str, "parameters": dict, "title": Maybe(str), "seconds": Maybe(float), "peak_memory_bytes": Maybe(float),
    "failure": Maybe({"reason": str, "cell": Maybe(int, 0), "lines": Maybe([str], [])}),
}  # fmt: skip
STATUS = {
    "schema": Is(SCHEMA), "state": str, "created": str, "command": [str], "nbtools": str, "versions": {str: object}, "machine": dict,
    "notebooks": {str: ENTRY},
}  # fmt: skip


class Observer(Protocol):
    """Who shows a run to a person; the command line brings one."""

    def say(self, text: str) -> None: ...
    def begin(self, names: list[str]) -> None: ...
    def update(self, execution: Execution) -> None: ...
    def finish(self, execution: Execution) -> None: ...


@dataclass
class Plan:
    """What is to be run, wholly checked: the notebooks, each one's parameters by name, and the folder."""

    notebooks: list[Notebook]
    parameters: dict[str, dict[str, Any]]
    folder: Path
    command: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What a run did: the names of notebooks executed now, kept from before, and not reached; the failed one, if any."""

    folder: Path
    ran: list[str]
    kept: list[str]
    missing: list[str]
    failed: Execution | None = None


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


def run_notebooks(plan: Plan, observer: Observer, *, timeout: float | None = None) -> Outcome:
    """Execute what `plan` holds and is not done yet, in order, until the first failure.

    timeout  seconds for each notebook, None for no limit

    Raises RunError where another run is at work in the folder. A KeyboardInterrupt goes on to the caller once the kernel is
    gone and `status.json` is true; the same call then goes on with what is left.
    """
    lock = plan.folder.with_name(f".{plan.folder.name}.lock")
    with alone(lock, f"Another run is at work in {plan.folder}.", "Wait for it, or name another folder with --out."):
        marks = {notebook.name: fingerprint(notebook, plan.parameters[notebook.name]) for notebook in plan.notebooks}
        status = _open_folder(plan, marks, observer)
        done = [notebook.name for notebook in plan.notebooks if status["notebooks"][notebook.name]["state"] == "done"]
        todo = [notebook for notebook in plan.notebooks if notebook.name not in done]
        outcome = Outcome(plan.folder, [], done, [notebook.name for notebook in todo])
        if done:
            observer.say(f"Already done with the same code, parameters and versions, and kept: {', '.join(done)}.")
        if todo:
            observer.begin([notebook.name for notebook in todo])
            _run_all(plan, todo, status, outcome, observer, timeout)
        write_metrics(plan.folder, status)
    return outcome


def _run_all(plan: Plan, todo: list[Notebook], status: dict[str, Any], outcome: Outcome, observer: Observer, timeout: float | None) -> None:
    for notebook in todo:
        entry = status["notebooks"][notebook.name]
        entry.update(state="running", started=_now())
        _write_status(plan.folder, status, "running")
        try:
            execution = execute(
                notebook,
                plan.folder / f"{notebook.name}.ipynb",
                plan.parameters[notebook.name],
                runs=plan.folder,
                timeout=timeout,
                environment={"NBTOOLS_RESUME": "0" if plan.parameters[notebook.name].get("resume") is False else "1"},
                watch=observer.update,
            )
        except BaseException:
            entry.update(state="stopped")
            _write_status(plan.folder, status, "stopped")
            raise
        entry.update(
            state="failed" if execution.failure else "done",
            finished=_now(),
            seconds=round(execution.seconds, 2),
            peak_memory_bytes=execution.peak_memory,
        )
        observer.finish(execution)
        if execution.failure:
            entry["failure"] = {"reason": execution.failure.reason, "cell": execution.failure.cell, "lines": execution.failure.lines}
            outcome.failed = execution
            _write_status(plan.folder, status, "failed")
            return
        outcome.ran.append(notebook.name)
        outcome.missing.remove(notebook.name)
        _write_status(plan.folder, status, "done" if not outcome.missing else "running")


def _open_folder(plan: Plan, marks: dict[str, str], observer: Observer) -> dict[str, Any]:
    """The folder's status, with an entry for each planned notebook: kept, or begun afresh where something has changed."""
    old = read_status(plan.folder)
    entries: dict[str, Any] = old.get("notebooks", {})
    changed = [name for name, mark in marks.items() if name in entries and entries[name]["fingerprint"] != mark]
    if old and (changed or old["versions"] != library_versions()):
        aside = set_aside(plan.folder)
        what = f"the code, the parameters or nbtools changed for {', '.join(changed)}" if changed else "other versions of the libraries"
        observer.say(f"{plan.folder.name} holds an earlier run ({what}). It is kept as {aside}; a fresh run begins.")
        entries = {}
    for name, mark in marks.items():
        entry = entries.get(name)
        if entry is None or entry["state"] != "done" or not (plan.folder / f"{name}.ipynb").is_file():
            entries[name] = {"state": "waiting", "fingerprint": mark, "parameters": plan.parameters[name]}
    titles = {notebook.name: notebook.title for notebook in plan.notebooks}
    for name in marks:
        entries[name]["title"] = titles[name]
    status = {
        "schema": SCHEMA,
        "state": "running",
        "command": plan.command,
        "created": old.get("created", _now()) if entries is old.get("notebooks") else _now(),
        "nbtools": nbtools.__version__,
        "versions": library_versions(),
        "machine": describe_machine(),
        "notebooks": dict(sorted(entries.items())),
    }
    plan.folder.mkdir(parents=True, exist_ok=True)
    finished = all(entry["state"] == "done" for entry in entries.values())
    _write_status(plan.folder, status, "done" if finished else "running")
    return status


def read_status(folder: Path) -> dict[str, Any]:
    """What `status.json` in a run's folder says; {} where there is none. Raises RunError where it cannot be read."""
    return dict(read_json(folder / "status.json", STATUS, "Name another folder with --out.", RunError, absent={}))


def write_metrics(folder: Path, status: Mapping[str, Any]) -> Path:
    """Write `metrics.json`: seconds, bytes and parameters of each notebook, what fine-tuning measured, and its folder."""
    tuned = _find_finetune(folder, status)
    kept = ("state", "title", "parameters", "seconds", "peak_memory_bytes", "failure")
    metrics = {
        "schema": SCHEMA,
        "kind": "run",
        "created": status["created"],
        "state": status["state"],
        "command": status["command"],
        "nbtools": status["nbtools"],
        "versions": status["versions"],
        "machine": status["machine"],
        "memory_method": MEMORY_METHOD,
        "notebooks": {name: {key: entry[key] for key in kept if key in entry} for name, entry in status["notebooks"].items()},
        "finetune": read_object(tuned / "metrics.json") if tuned else None,
        "finetune_folder": tuned and (tuned.relative_to(folder).as_posix() if tuned.is_relative_to(folder) else str(tuned)),
    }
    return write_text(folder / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")


def _find_finetune(folder: Path, status: Mapping[str, Any]) -> Path | None:
    """The folder of the fine-tuning that belongs to this run: in the `output_dir` that a notebook was given, else under `tuned/`, of the
    asked-for profile before others, the newest first."""
    entries = status["notebooks"].values()
    named = []
    for entry in entries:
        if place := entry["parameters"].get("output_dir"):
            files = [Path(place, "metrics.json"), *Path(place).glob("*/metrics.json")]
            begin, end = entry.get("started", "~"), entry.get("finished", "~")
            named += [file for file in files if begin <= str(read_object(file).get("created", "")) <= end]  # others may train there as well
    own = list((folder / "tuned").glob("*/metrics.json"))
    asked = {entry["parameters"].get("profile", "mini") for entry in entries}
    files = sorted([*named, *own], key=lambda file: (file in named, file.parent.name in asked, file.stat().st_mtime), reverse=True)
    return next((file.parent for file in files if read_object(file).get("kind") == "finetune"), None)


def _write_status(folder: Path, status: dict[str, Any], state: str) -> None:
    status.update(state=state, written=_now())
    write_text(folder / "status.json", json.dumps(status, indent=1, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
