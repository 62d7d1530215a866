"""Hand jobs to an executor, count what comes back, and lose nothing by a stop."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbtools.errors import CourseError
from nbtools.runs.executors import Executor, Handle, LostWorkerError
from nbtools.runs.job import Execution, Failure, Job
from nbtools.runs.store import RunStore
from nbtools.runs.worker import StoppedError

LOOK_SECONDS = 0.1  # between two looks at what has ended
STOP_SECONDS = 60.0  # that jobs at work are waited for after a stop; they need about fifteen

Status = Mapping[str, Any]


@dataclass
class Progress:
    """How far a plan is.

    total    jobs of the plan
    workers  jobs at a time
    due      the jobs that are to be executed now
    varied   names of the parameters in which jobs differ
    kept     jobs that were over before this start; kept_failed: those of them that had failed
    done, failed  jobs that have ended since
    running  jobs that were handed over; the first `workers` of them are at work, the others wait for a worker
    begun    when each job at work began, by id, in seconds of the monotonic clock
    taken    seconds that the ended jobs took, all together
    executions  what is known of a job at work on this machine, by id
    best     the parameters of the best job and its value so far, or None
    """

    total: int
    workers: int
    varied: Sequence[str] = ()
    due: Sequence[Job] = ()
    kept: int = 0
    kept_failed: int = 0
    done: int = 0
    failed: int = 0
    running: list[Job] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)
    taken: float = 0.0
    executions: dict[str, Execution] = field(default_factory=dict)
    best: tuple[dict[str, Any], float] | None = None

    @property
    def over(self) -> int:
        return self.kept + self.done + self.failed

    @property
    def left(self) -> int:
        return self.total - self.over

    def note_running(self, jobs: Sequence[Job]) -> None:
        """Note which jobs are handed over now."""
        now = time.monotonic()
        self.running = list(jobs)
        self.begun = {job.id: self.begun.get(job.id, now) for job in self.running[: self.workers]}

    def note_end(self, job: Job, *, failed: bool) -> None:
        """Note that a job has ended."""
        now = time.monotonic()
        self.taken += now - self.begun.pop(job.id, now)
        self.failed += failed
        self.done += not failed

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the mean time of the jobs that have ended; None before the first has.

        A job at work that has taken longer than that counts too, with its time so far: the estimate grows with the clock and does not
        jump when the job ends.
        """
        ended, now = self.done + self.failed, time.monotonic()
        if not ended:
            return None
        spent = [now - began for began in self.begun.values()]
        mean = self.taken / ended
        late = [seconds for seconds in spent if seconds > mean]
        mean = (self.taken + sum(late)) / (ended + len(late))
        free = [max(0.0, mean - seconds) for seconds in spent] + [0.0] * (self.workers - len(spent))  # when each worker is free
        heapq.heapify(free)
        for _ in range(self.left - len(spent)):
            heapq.heapreplace(free, free[0] + mean)
        return max(free)


class Observer(Protocol):
    """Whoever shows a plan's progress to a person."""

    def say(self, text: str) -> None: ...
    def update(self, progress: Progress) -> None: ...
    def finish(self, job: Job, status: Status, progress: Progress) -> None: ...


@dataclass
class Scheduler:
    """Executes jobs, in order, as many at a time as the executor takes.

    jobs             those that are due
    progress         kept true
    stop_at_failure  begin no job after one that has failed
    ended            called with each job that has ended, and its status
    """

    jobs: Sequence[Job]
    store: RunStore
    executor: Executor
    observer: Observer
    progress: Progress
    stop_at_failure: bool = False
    ended: Callable[[Job, Status], None] = lambda job, status: None
    pending: dict[str, tuple[Job, Handle]] = field(default_factory=dict, init=False)
    lost: dict[str, int] = field(default_factory=dict, init=False)  # how often a job's worker was lost

    def run(self) -> Progress:
        """Execute all jobs. An exception, such as KeyboardInterrupt, is passed on once every job at work has ended."""
        due = deque(self.jobs)
        self.progress.due = self.jobs
        self.store.stop_file.unlink(missing_ok=True)
        try:
            while due or self.pending:
                while due and len(self.pending) < self.executor.slots:
                    job = due.popleft()
                    self.pending[job.id] = job, self.executor.submit(job)
                self.progress.note_running([job for job, _ in self.pending.values()])
                if not self._collect(due):
                    time.sleep(LOOK_SECONDS)
                self.progress.note_running([job for job, _ in self.pending.values()])
                self.progress.executions = {
                    job: handle.execution for job, (_, handle) in self.pending.items() if handle.execution is not None
                }
                self.observer.update(self.progress)
        except BaseException:
            self._stop()
            raise
        finally:
            self.store.stop_file.unlink(missing_ok=True)
        return self.progress

    def _collect(self, due: deque[Job]) -> bool:
        """Take in what has ended; whether anything has."""
        over = [job for job, handle in self.pending.values() if handle.future.done()]
        for job in over:
            _, handle = self.pending.pop(job.id)
            try:
                status = handle.result()
            except LostWorkerError as error:
                self.lost[job.id] = self.lost.get(job.id, 0) + 1
                if self.lost[job.id] < job.tries:
                    due.append(job)
                    continue
                status = _write_lost(self.store, job, str(error))
            self._count(job, status)
            if status["state"] == "failed" and self.stop_at_failure:
                due.clear()
        return bool(over)

    def _count(self, job: Job, status: Status) -> None:
        self.progress.note_end(job, failed=status["state"] != "done")
        self.ended(job, status)
        self.observer.finish(job, status, self.progress)

    def _stop(self) -> None:
        """End what is at work, and count what still comes to its end."""
        self.store.stop_file.touch()  # empty, so that it can be made on a full disk too
        deadline = time.monotonic() + STOP_SECONDS
        while self.pending and time.monotonic() < deadline:
            for job, handle in [(job, handle) for job, handle in self.pending.values() if handle.future.done()]:
                del self.pending[job.id]
                try:
                    self._count(job, handle.result())
                except (StoppedError, LostWorkerError, CourseError):
                    continue  # nothing of it is kept; it is due again
            time.sleep(LOOK_SECONDS)


def _write_lost(store: RunStore, job: Job, message: str) -> dict[str, Any]:
    """The status of a job whose worker was lost as often as it was tried."""
    if (status := store.ended(job.id)) is not None:
        return status
    failure = Failure("lost", 0, 0, "", [message]).record() | {"reason": "the worker that made it was lost, every time"}
    status = {"state": "failed", "run": job.id, "parameters": job.parameters, "failure": failure}
    store.begin(job.id, status)
    store.finish(job.id, status)
    return status
