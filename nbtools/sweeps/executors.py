"""Where runs are made: processes of this machine, a Dask cluster, or SLURM. Each is a library's own, behind one small interface."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from nbtools.errors import CourseError, InputError, MachineError, RunError
from nbtools.runtime import allowed_processors
from nbtools.sweeps.work import Order, StoppedError, perform

QUEUED = 200  # jobs that SLURM is given at a time
CONNECT_SECONDS = 15


class LostWorkerError(Exception):
    """The process or machine that made a run is gone. The message is one line."""


class Handle(Protocol):
    """A run that was handed over. `result` returns its status, or raises LostWorkerError, or what stops the sweep."""

    def done(self) -> bool: ...
    def result(self) -> dict[str, Any]: ...


class Executor(Protocol):
    """Whoever makes runs.

    name     for people; workers: how many run at a time; slots: how many may be handed over at a time
    threads  each run's share of its machine's cores; None: whatever the machine allows it
    submit   hand one over; close: let go of what was opened, once nothing runs any more
    """

    @property
    def name(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def slots(self) -> int: ...
    def submit(self, order: Order) -> Handle: ...
    def close(self) -> None: ...


class LocalExecutor:
    """Runs on this machine, `workers` at a time. A thread waits for each; the run itself is two processes of its own."""

    def __init__(self, workers: int) -> None:
        self.name = f"{workers} worker{'s' if workers > 1 else ''} on this machine"
        self.workers = self.slots = workers
        self.threads = max(1, allowed_processors() // workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sweep")

    def submit(self, order: Order) -> Handle:
        return self._pool.submit(perform, order)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


class DaskExecutor:
    """Runs on a Dask cluster: one that is there already (`address`), or one of `workers` processes that is started for this.

    resources  what a run needs of a worker, as its `--resources` names it, such as {"GPU": 1}
    Every worker must have this package installed and see the sweep's folder under the same path.
    """

    def __init__(self, address: str | None, workers: int, resources: Mapping[str, float] | None = None) -> None:
        distributed = _needs("distributed", "dask distributed")
        for name in ("distributed", "distributed.client", "distributed.core", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said below, in two lines
        self._resources = dict(resources or {})
        self._cluster = None
        if address is None:
            self._cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, resources=self._resources or None,
                silence_logs="CRITICAL", memory_limit=0,
            )  # fmt: skip
        try:
            self._client = distributed.Client(self._cluster or address, timeout=CONNECT_SECONDS, set_as_default=False)
            threads = self._client.nthreads()
        except (OSError, ValueError, TimeoutError) as error:
            self._end_cluster()
            raise RunError(
                f"No Dask scheduler answers at {address}: {error}", "Start one with `dask scheduler`, and name its address."
            ) from None
        if not threads:
            self.close()
            raise RunError(f"The Dask scheduler at {address} has no workers.", f"Start some: dask worker {address} --nthreads 1")
        self.workers = sum(threads.values())
        self.threads = self._share()
        where = f"at {address}" if address else "started for this sweep"
        self.name = f"{self.workers} worker{'s' if self.workers > 1 else ''} of a Dask cluster {where}"

    @property
    def slots(self) -> int:
        """Twice what can run: the next run is at a worker when one ends, and no more than that is lost with the cluster."""
        try:
            return 2 * max(1, sum(self._client.nthreads().values()))
        except (OSError, TimeoutError, CancelledError):
            raise _no_scheduler() from None

    def submit(self, order: Order) -> Handle:
        key = f"{order.run}-{os.urandom(4).hex()}"
        return _DaskRun(self._client.submit(perform, order, key=key, pure=False, resources=self._resources or None))

    def _share(self) -> int:
        """Cores a run, on the machine where the most runs share them."""
        cores = self._client.run(allowed_processors)
        machines: dict[str, list[tuple[int, int]]] = {}
        for address, worker in self._client.scheduler_info(n_workers=-1)["workers"].items():
            machines.setdefault(worker["host"], []).append((cores.get(address, 1), worker["nthreads"]))
        return min(max(1, max(cores for cores, _ in here) // sum(threads for _, threads in here)) for here in machines.values())

    def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # the scheduler may be gone
            self._client.close(timeout=5)
        self._end_cluster()

    def _end_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.close(timeout=20)


class _DaskRun:
    """A run on the cluster, with Dask's errors said in the course's terms."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> dict[str, Any]:
        import distributed

        try:
            return dict(self._future.result())
        except distributed.KilledWorker as error:
            raise LostWorkerError(str(error)) from None
        except (CancelledError, OSError, TimeoutError):
            raise _no_scheduler() from None


def _no_scheduler() -> RunError:
    return RunError("The Dask scheduler is gone.", "Start one, with workers; the same command then goes on with what is left.")


def _answer(order: Order) -> dict[str, Any]:
    """What `perform` does, with what stops a sweep as an answer: submitit carries a result home, and of an error only its text."""
    try:
        return perform(order)
    except StoppedError:
        return {"stopped": True}
    except CourseError as error:
        return {"problem": error.problem, "remedy": error.remedy}


class _SlurmJob:
    """A job, with submitit's errors said in the course's terms."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def done(self) -> bool:
        return bool(self._job.done())

    def result(self) -> dict[str, Any]:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            answer = dict(self._job.result())
        except UncompletedJobError as error:
            raise LostWorkerError(str(error).strip().splitlines()[0]) from None
        except FailedJobError as error:
            raise RunError(
                f"A job failed: {str(error).strip().splitlines()[-1]}", "See its log in the sweep's folder, under slurm/."
            ) from None
        if answer.get("stopped"):
            raise StoppedError
        if "problem" in answer:
            raise RunError(answer["problem"], answer["remedy"])
        return answer


class SlurmExecutor:
    """Runs as SLURM jobs, through submitit; `cluster="local"` makes submitit start processes here instead, as its tests do.

    values  what submitit calls parameters: timeout_min, mem_gb, cpus_per_task, gpus_per_node, slurm_partition, slurm_account …
    Every node must have this package installed and see the sweep's folder under the same path.
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

    def submit(self, order: Order) -> Handle:
        return _SlurmJob(self._executor.submit(_answer, order))

    def close(self) -> None:
        """Nothing is held: a job ends by itself, or by the sweep's stop file."""


def _needs(module: str, packages: str) -> Any:
    import importlib
    import sys

    try:
        return importlib.import_module(module)
    except ImportError:
        raise MachineError(
            f"This executor needs {module}, which is not installed.", f"Run: {sys.executable} -m pip install {packages}"
        ) from None
