"""Execute notebooks: one engine for a run of several notebooks in order and for a sweep of one notebook over many parameters.

A `Job` is executed by a worker into a `RunStore`; a `Scheduler` hands jobs to an executor: threads of this process, Dask, or SLURM.
Needs papermill, nbclient and ipykernel (extra `run`), and for a sweep the extra `sweep`.
"""

from nbtools.runs.course import Plan, plan_run, run_notebooks
from nbtools.runs.display import CourseLines, RunDisplay, SweepLines
from nbtools.runs.execution import execute
from nbtools.runs.executors import Executor, LocalExecutor, SlurmExecutor, make_executor
from nbtools.runs.job import Execution, Failure, Job
from nbtools.runs.plan import SweepPlan, read_plan
from nbtools.runs.refresh import refresh_notebooks
from nbtools.runs.results import by_combination, read_table, write_tables
from nbtools.runs.scheduler import Progress
from nbtools.runs.store import RunStore, SharedStore
from nbtools.runs.sweeps import read_record, run_sweep, sweep
from nbtools.runs.worker import run_job

__all__ = [
    "CourseLines",
    "Execution",
    "Executor",
    "Failure",
    "Job",
    "LocalExecutor",
    "Plan",
    "Progress",
    "RunDisplay",
    "RunStore",
    "SharedStore",
    "SlurmExecutor",
    "SweepLines",
    "SweepPlan",
    "by_combination",
    "execute",
    "make_executor",
    "plan_run",
    "read_plan",
    "read_record",
    "read_table",
    "refresh_notebooks",
    "run_job",
    "run_notebooks",
    "run_sweep",
    "sweep",
    "write_tables",
]
