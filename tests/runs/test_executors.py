"""The cluster executors, on clusters that really are: separate scheduler and worker processes on loopback, jobs by submitit."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from nbtools import sweep
from nbtools.errors import InputError, MachineError, RunError
from nbtools.runs import LocalExecutor, SlurmExecutor, make_executor
from nbtools.runs.executors import _needs
from tests.gate import HANG_SECONDS
from tests.runs.small_notebooks import processes_with
from tests.runs.small_sweeps import begun, counting, start_sweep
from tests.runs.test_faults import check_whole, finish, plan_of, wait_until_gone

pytestmark = pytest.mark.slow(15)


@contextmanager
def started(*command, **environment):
    """A process of its own, and its output line by line; it is gone afterwards."""
    import os

    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        for one in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            one.kill()
        process.kill()
        process.wait()


def read_until(process, text):
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"{process.args} ended without saying {text!r}")


@contextmanager
def scheduler(port="0"):
    with started("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard") as process:
        yield process, "tcp://" + read_until(process, "Scheduler at:").split("tcp://")[1].strip()


@contextmanager
def worker(address, tmp_path, *options, **environment):
    folder = str(tmp_path / "dask")
    count = {"COUNT_FILE": str(tmp_path / "count")}
    common = ("--nthreads", "1", "--no-dashboard", "--local-directory", folder, "--memory-limit", "0")
    with started("dask_worker", address, *common, *options, **count, **environment) as process:
        read_until(process, "Registered to")
        yield process


def test_a_two_worker_cluster_in_processes_of_its_own_makes_every_run_once(tmp_path):
    asked = plan_of(tmp_path, "print('made')")
    with scheduler() as (_, address), worker(address, tmp_path), worker(address, tmp_path):
        said = finish(tmp_path, asked, "--scheduler", address)
    assert f"2 workers of a Dask cluster at {address}" in said and len(begun(tmp_path)) == 4


def test_a_killed_dask_worker_costs_that_try_only(tmp_path):
    asked = plan_of(tmp_path)
    with scheduler() as (_, address), worker(address, tmp_path) as first, worker(address, tmp_path):
        with start_sweep(tmp_path, asked, "--scheduler", address) as running:
            running.wait_for(lambda: len(begun(tmp_path)) >= 2)
            for process in psutil.Process(first.pid).children(recursive=False):
                process.kill()  # the worker; its nanny starts another
            assert running.process.wait(HANG_SECONDS) == 0, running.output()
        check_whole(tmp_path, 4)


def test_a_killed_scheduler_ends_the_sweep_in_words_and_another_goes_on(tmp_path):
    asked = plan_of(tmp_path)
    with scheduler() as (process, address), worker(address, tmp_path), worker(address, tmp_path):
        with start_sweep(tmp_path, asked, "--scheduler", address) as running:
            running.wait_for(lambda: len(running.done()) >= 1)
            process.send_signal(signal.SIGKILL)
            assert running.process.wait(HANG_SECONDS) == 1
            said = running.output()
        assert "The Dask scheduler is gone." in said and "continues with what is left" in said and "Traceback" not in said
    wait_until_gone(str(tmp_path / "out"))
    done = running.done()
    with scheduler() as (_, address), worker(address, tmp_path):
        finish(tmp_path, asked, "--scheduler", address)
    assert all(begun(tmp_path).count(run) == 1 for run in done)


def test_ctrl_c_ends_the_runs_at_dasks_workers(tmp_path):
    asked = plan_of(tmp_path)
    with scheduler() as (_, address), worker(address, tmp_path), worker(address, tmp_path):
        with start_sweep(tmp_path, asked, "--scheduler", address) as running:
            running.wait_for(lambda: len(begun(tmp_path)) >= 2)
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(HANG_SECONDS) == 130, running.output()
        deadline = time.monotonic() + HANG_SECONDS  # the workers hear of it from the scheduler
        while processes_with(str(tmp_path / "out")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert not list((tmp_path / "out" / "runs").glob("*.part"))
        finish(tmp_path, asked, "--scheduler", address)


def test_a_run_that_needs_a_resource_goes_to_the_worker_that_has_it(tmp_path):
    asked = plan_of(tmp_path, "import os\nassert os.environ['HAS'] == 'it'", count=3)
    with scheduler() as (_, address), worker(address, tmp_path), worker(address, tmp_path, "--resources", "GPU=1", HAS="it"):
        finish(tmp_path, asked, "--scheduler", address, "--need", "GPU=1", count=3)
    assert len(begun(tmp_path)) == 3  # none was begun at the other worker, where the notebook would have raised


def test_a_local_cluster_is_started_and_ended(tmp_path, monkeypatch):
    counting(tmp_path, monkeypatch)
    asked = plan_of(tmp_path, "print('made')")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    table = sweep(asked, tmp_path / "out", workers=2, executor="dask")
    assert list(table["state"]) == ["done"] * 4 and len(begun(tmp_path)) == 4
    deadline = time.monotonic() + HANG_SECONDS
    while any("spawn_main" in " ".join(one.cmdline()) for one in psutil.Process().children(recursive=True) if one.pid not in before):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_nobody_at_the_address_or_nobody_who_works(tmp_path):
    with pytest.raises(RunError, match="No Dask scheduler answers"):
        make_executor("dask", tmp_path, scheduler="tcp://127.0.0.1:1")
    with scheduler() as (_, address), pytest.raises(RunError, match="has no workers"):
        make_executor("local", tmp_path, scheduler=address)


def test_submitit_makes_the_runs_as_jobs(tmp_path, monkeypatch):
    counting(tmp_path, monkeypatch)
    asked = plan_of(tmp_path, "if size == 2: raise ValueError('no')", count=3)
    table = sweep(asked, tmp_path / "out", workers=2, executor="submitit-local")
    assert sorted(table["state"]) == ["done", "done", "failed"] and len(begun(tmp_path)) == 3
    assert list((tmp_path / "out" / "slurm").glob("*_submitted.pkl"))


def test_a_killed_job_is_handed_over_again(tmp_path):
    asked = plan_of(tmp_path, count=2)
    with start_sweep(tmp_path, asked, "--executor", "submitit-local") as running:
        running.wait_for(lambda: len(begun(tmp_path)) >= 1)
        for process in psutil.Process(running.process.pid).children(recursive=True):
            if any("submitit" in part for part in process.cmdline()):
                process.kill()
        assert running.process.wait(HANG_SECONDS) == 0, running.output()
    check_whole(tmp_path, 2)


def test_slurm_without_slurm_says_so(tmp_path):
    with pytest.raises(InputError, match="SLURM cannot be used"):
        SlurmExecutor(tmp_path, 1)
    with pytest.raises(InputError, match="SLURM cannot be used"):
        SlurmExecutor(tmp_path, 1, {"memory": 3}, cluster="local")


def test_an_executor_that_is_not_installed_or_does_not_exist(tmp_path):
    with pytest.raises(MachineError, match="needs no_such_module"):
        _needs("no_such_module", "dask")
    for name, options in (("ray", {}), ("slurm", {"scheduler": "tcp://127.0.0.1:1"}), ("local", {"workers": 0})):
        with pytest.raises(InputError):
            make_executor(name, tmp_path, **options)


def test_local_workers_share_the_cores(monkeypatch):
    import nbtools.runs.executors as executors

    monkeypatch.setattr(executors, "allowed_processors", lambda: 8)
    shares = []
    for workers in (1, 3, 8, 20):
        executor = LocalExecutor(workers)
        shares.append(executor.threads)
        executor.close()
    assert shares == [8, 2, 1, 1]
