"""Where jobs are executed: threads of this process, a Dask cluster, or SLURM. Each is a library's own, behind one small interface."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from nbtools.errors import CourseError, InputError, MachineError, RunError
from nbtools.runs.job import Execution, Job
from nbtools.runs.worker import StoppedError, run_job
from nbtools.system import allowed_processors

EXECUTORS = ("local", "dask", "slurm", "submitit-local")
JOBS = "slurm"  # the folder in which submitit keeps each job
QUEUED = 200  # jobs that SLURM is given at a time
CONNECT_SECONDS = 15


class LostWorkerError(Exception):
    """The process or machine that executed a job is gone. The message is one line."""


class Handle:
    """A job that was handed over.

    execution  what is known of it while it is at work, where that is in this process; else None
    """

    def __init__(self, future: Any = None, explain: Callable[[Exception], Exception] = lambda error: error) -> None:
        """
        future   has `done` and `result`
        explain  says what an exception of the executor's library means
        """
        self.future, self._explain = future, explain
        self.execution: Execution | None = None

    def watch(self, execution: Execution) -> None:
        self.execution = execution

    def result(self) -> dict[str, Any]:
        """The job's status. Raises LostWorkerError, or what stops the plan."""
        try:
            answer = self.future.result()
        except Exception as error:
            if (explained := self._explain(error)) is error:
                raise
            raise explained from None
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


class Executor(Protocol):
    """Whoever executes jobs.

    name     for people
    workers  how many run at a time
    threads  the cores of its machine that each job may use; None for all that the machine allows it
    slots    how many may be handed over at a time
    submit   hands one over
    close    frees what was opened, once nothing runs any more
    """

    @property
    def name(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def slots(self) -> int: ...
    def submit(self, job: Job) -> Handle: ...
    def close(self) -> None: ...


class LocalExecutor:
    """Jobs on this machine, `workers` at a time, each in a thread with a kernel of its own."""

    def __init__(self, workers: int) -> None:
        self.name = f"{workers} worker{'s' if workers > 1 else ''} on this machine"
        self.workers = self.slots = workers
        self.threads = max(1, allowed_processors() // workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="job")

    def submit(self, job: Job) -> Handle:
        handle = Handle()
        handle.future = self._pool.submit(run_job, job, handle.watch)
        return handle

    def close(self) -> None:
        self._pool.shutdown(wait=True)


class DaskExecutor:
    """Jobs on a Dask cluster: one that runs already (`address`), or one of `workers` processes that is started for this.

    resources  what a job needs of a worker, as its `--resources` names it, such as {"GPU": 1}

    Every worker must have this package installed and see the plan's folder under the same path.
    """

    def __init__(self, address: str | None, workers: int, resources: Mapping[str, float] | None = None) -> None:
        distributed = _needs("distributed", "dask distributed")
        for name in ("distributed", "distributed.client", "distributed.core", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is reported below, in two lines
        self._resources = dict(resources or {})
        self._client: Any = None
        self._cluster: Any = None
        if address is None:
            self._cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, resources=self._resources or None,
                silence_logs="CRITICAL", memory_limit=0,
            )  # fmt: skip
        try:
            self._client = distributed.Client(self._cluster or address, timeout=CONNECT_SECONDS, set_as_default=False)
            threads = self._client.nthreads()
        except (OSError, ValueError, TimeoutError) as error:
            self.close()
            raise RunError(
                f"No Dask scheduler answers at {address}: {error}", "Start one with `dask scheduler`, and name its address."
            ) from None
        if not threads:
            self.close()
            raise RunError(f"The Dask scheduler at {address} has no workers.", f"Start some: dask worker {address} --nthreads 1")
        self.workers = sum(threads.values())
        self.threads = self._cores_per_job()
        where = f"at {address}" if address else "started for this sweep"
        self.name = f"{self.workers} worker{'s' if self.workers > 1 else ''} of a Dask cluster {where}"

    @property
    def slots(self) -> int:
        """Twice what can run: the next job is at a worker when one ends, and no more than that is lost with the cluster."""
        try:
            return 2 * max(1, sum(self._client.nthreads().values()))
        except (OSError, TimeoutError, CancelledError):
            raise _no_scheduler() from None

    def submit(self, job: Job) -> Handle:
        key = f"{job.id}-{os.urandom(4).hex()}"
        return Handle(self._client.submit(run_job, job, key=key, pure=False, resources=self._resources or None), _explain_dask)

    def _cores_per_job(self) -> int:
        """Cores per job, on the machine where the most jobs share them."""
        cores = self._client.run(allowed_processors)
        machines: dict[str, list[tuple[int, int]]] = {}
        for address, worker in self._client.scheduler_info(n_workers=-1)["workers"].items():
            machines.setdefault(worker["host"], []).append((cores.get(address, 1), worker["nthreads"]))
        return min(max(1, max(cores for cores, _ in here) // sum(threads for _, threads in here)) for here in machines.values())

    def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # the scheduler may be gone
            if self._client is not None:
                self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=20)


def _explain_dask(error: Exception) -> Exception:
    import distributed

    if isinstance(error, distributed.KilledWorker):
        return LostWorkerError(str(error))
    return _no_scheduler() if isinstance(error, (CancelledError, OSError, TimeoutError)) else error


def _no_scheduler() -> RunError:
    return RunError("The Dask scheduler is gone.", "Start one, with workers; the same command then continues with what is left.")


def _answer(job: Job) -> dict[str, Any] | Exception:
    """`run_job`, with what stops the plan as an answer: of an exception submitit would pass on the text alone."""
    try:
        return run_job(job)
    except (StoppedError, CourseError) as error:
        return error


def _explain_submitit(error: Exception) -> Exception:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    lines = str(error).strip().splitlines()
    if isinstance(error, UncompletedJobError):
        return LostWorkerError(lines[0])
    if isinstance(error, FailedJobError):
        return RunError(f"A job failed: {lines[-1]}", "See its log in the sweep's folder, under slurm/.")
    return error


class SlurmExecutor:
    """Jobs of SLURM, through submitit; with `cluster="local"` submitit starts processes here instead, as its own tests do.

    values  what submitit calls parameters: timeout_min, mem_gb, cpus_per_task, gpus_per_node, slurm_partition, slurm_account …
    Every node must have this package installed and see the plan's folder under the same path.
    """

    def __init__(self, folder: Path, workers: int, values: Mapping[str, Any] | None = None, cluster: str = "slurm") -> None:
        submitit = _needs("submitit", "submitit")
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**(values or {}))
        except (RuntimeError, TypeError, ValueError, NameError) as error:
            raise InputError(
                f"SLURM cannot be used: {error}", "Start the sweep where `sbatch` is, and see submitit for its values."
            ) from None
        self.workers, self.threads = workers, None
        self.slots = workers if cluster == "local" else max(workers, QUEUED)
        self.name = f"SLURM ({cluster}), {workers} jobs at a time"

    def submit(self, job: Job) -> Handle:
        return Handle(self._executor.submit(_answer, job), _explain_submitit)

    def close(self) -> None:
        """Nothing to free: a job ends by itself, or by the plan's stop file."""


def make_executor(
    name: str, folder: Path, workers: int = 1, scheduler: str | None = None, values: Mapping[str, Any] | None = None
) -> Executor:
    """The executor called `name`.

    folder     the plan's folder
    workers    jobs at a time
    scheduler  the address of a Dask scheduler
    values     for Dask the resources that a job needs, for SLURM submitit's parameters

    Raises InputError for an unknown name and for options that do not belong together.
    """
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


def _needs(module: str, packages: str) -> Any:
    import importlib
    import sys

    try:
        return importlib.import_module(module)
    except ImportError:
        raise MachineError(
            f"This executor needs {module}, which is not installed.", f"Run: {sys.executable} -m pip install {packages}"
        ) from None
