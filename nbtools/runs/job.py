"""One notebook to execute, and what is known of its execution: plain data, without any library for running notebooks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REASONS = {
    "error": "the cell raised an error",
    "dead": "the kernel died (running out of memory is the usual cause)",
    "time": "it ran past its time limit",
    "memory": "it took more memory than its limit",
    "metrics": "it ended, and left no figures that can be used",
    "start": "its kernel did not start",
    "lost": "the program that executed it ended early",
}


@dataclass(frozen=True)
class Job:
    """One notebook to execute. Plain values only, so that it can be sent to another process or machine.

    notebook           the notebook's absolute path, the same on every machine
    parameters         values for its `parameters` cell
    id                 the job's name in the store: the notebook's name, or a digest of everything that decides the result
    store              the store's folder, the same path on every machine
    shared             whether all jobs of the store work in its folder; otherwise each has a folder of its own
    timeout_seconds    for all cells together, once the kernel runs; None for no limit
    memory_bytes       for the kernel and the processes that it starts; None for no limit
    environment        variables for the kernel, beside those of the process that executes it
    metric             the figure that its metrics.json must hold, as a dotted path; None where none is needed
    tries              how often it is executed at most, where its kernel does not start or dies
    retry_failed       execute it again if it has failed before
    keep_model         leave the models that it trains on the disk
    """

    notebook: str
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    store: str = ""
    shared: bool = False
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    metric: str | None = None
    tries: int = 1
    retry_failed: bool = False
    keep_model: bool = True

    @property
    def name(self) -> str:
        """The notebook's name, such as "04_finetuning"."""
        return Path(self.notebook).stem


@dataclass(frozen=True)
class Failure:
    """Why a notebook did not finish.

    kind    a key of REASONS
    cell    the code cell that was running, counted from 1, which is also the number in its brackets; 0 for none
    total   how many code cells there are
    source  the source of that cell
    lines   the last lines of what was reported
    """

    kind: str
    cell: int
    total: int
    source: str
    lines: list[str]

    @property
    def reason(self) -> str:
        return REASONS[self.kind]

    def record(self) -> dict[str, Any]:
        """The failure as `status.json` holds it."""
        return {**asdict(self), "reason": self.reason}


@dataclass
class Execution:
    """What is known of a notebook's execution, while it runs and afterwards.

    name                the notebook's name
    cell, total         number of the code cell that is running, and how many there are; cell is 0 until the kernel has started
    source              that cell's source
    seconds             wall-clock time, the kernel's start included
    peak_memory_bytes   see processes.MEMORY_METHOD
    cell_seconds        how long each code cell took, in order
    output              the executed copy or, after a failure, the partly executed one; None where nothing was saved
    failure             why it did not finish, or None
    """

    name: str
    cell: int = 0
    total: int = 0
    source: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    cell_seconds: list[float] = field(default_factory=list)
    output: Path | None = None
    failure: Failure | None = None

    def fail(self, kind: str, lines: list[str]) -> None:
        """Note that it has failed in the cell that is running."""
        self.failure = Failure(kind, self.cell, self.total, self.source, lines)
