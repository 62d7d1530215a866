"""One run at a time: what a worker leaves, whatever the notebook does."""

import json
import threading
import time

import pytest

from nbtools.errors import MachineError
from nbtools.runs import Job, RunStore, run_job
from nbtools.runs.plan import METRIC
from nbtools.runs.store import read_status
from nbtools.runs.sweeps import TRIES
from nbtools.runs.worker import StoppedError
from tests.runs.small_notebooks import SLEEPS, processes_with
from tests.runs.small_sweeps import WRITE, write_tiny


def job_for(tmp_path, *between, write=WRITE, **values):
    notebook = write_tiny(tmp_path / "nb", *between, write=write)
    values = {"parameters": {"rate": 0.3}, "metric": METRIC, **values}
    values["environment"] = {"COUNT_FILE": str(tmp_path / "count"), **values.get("environment", {})}
    return Job(notebook=str(notebook), id="abc", store=str(tmp_path / "sweep"), tries=TRIES, **values)


def store(tmp_path):
    return RunStore(tmp_path / "sweep")


def made(tmp_path):
    """How often the notebook was begun."""
    file = tmp_path / "count"
    return len(file.read_text().splitlines()) if file.exists() else 0


def left(tmp_path):
    """What the sweep's folder of runs holds, locks aside."""
    return sorted(one.name for one in (tmp_path / "sweep" / "runs").iterdir() if not one.name.startswith("."))


@pytest.mark.slow(3)
def test_a_run_that_ends_well_has_its_status_metrics_and_notebook(tmp_path):
    where = "import os\nprint(os.getcwd())\nassert os.environ['OMP_NUM_THREADS'] == '1'\nassert not open('own.txt', 'w').close()"
    status = run_job(job_for(tmp_path, where, environment={"OMP_NUM_THREADS": "1"}))
    folder = store(tmp_path).folder_of("abc")
    assert status["state"] == "done" and status["value"] == pytest.approx(0.02) and status["attempt"] == 1
    assert read_status(folder)["value"] == status["value"] and left(tmp_path) == ["abc"]
    assert sorted(file.name for file in folder.iterdir()) == ["01_tiny.ipynb", "metrics.json", "own.txt", "status.json"]


@pytest.mark.slow(4)
def test_a_run_that_is_done_is_not_made_again(tmp_path):
    first, again = run_job(job_for(tmp_path)), run_job(job_for(tmp_path, retry_failed=True))
    assert first == {key: value for key, value in again.items() if key != "schema"} and made(tmp_path) == 1


@pytest.mark.slow(4)
def test_two_workers_with_one_job_make_it_once(tmp_path):
    one = job_for(tmp_path, "import time; time.sleep(1)")
    statuses = []
    workers = [threading.Thread(target=lambda: statuses.append(run_job(one))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [status["state"] for status in statuses] == ["done", "done"] and made(tmp_path) == 1


@pytest.mark.slow(6)
def test_a_notebook_that_raises_is_tried_once_and_again_when_asked(tmp_path):
    flag = tmp_path / "flag"
    cell = f"import os\nif not os.path.exists({str(flag)!r}): raise ValueError('no flag')"
    status = run_job(job_for(tmp_path, cell))
    assert (status["state"], status["failure"]["kind"], status["failure"]["cell"]) == (
        "failed",
        "error",
        4,
    )  # the cell with the given parameters counts
    assert status["failure"]["lines"][-1] == "ValueError: no flag" and status["failure"]["source"] == cell
    assert (store(tmp_path).folder_of("abc") / "01_tiny.failed.ipynb").is_file() and made(tmp_path) == 1
    flag.touch()
    assert run_job(job_for(tmp_path, cell))["state"] == "failed" and made(tmp_path) == 1
    assert run_job(job_for(tmp_path, cell, retry_failed=True))["state"] == "done" and made(tmp_path) == 2
    assert left(tmp_path) == ["abc"]


@pytest.mark.slow(4)
def test_a_notebook_that_hangs_ends_at_its_limit(tmp_path):
    status = run_job(job_for(tmp_path, SLEEPS, timeout_seconds=1))
    assert status["failure"]["kind"] == "time" and status["failure"]["cell"] == 4 and made(tmp_path) == 1
    assert not processes_with(str(tmp_path))


@pytest.mark.slow(4)
def test_a_notebook_that_takes_more_memory_than_its_limit_ends(tmp_path):
    hog = "held = []\nimport time\nwhile True:\n    held.append(bytearray(b'1' * 20_000_000)); time.sleep(0.02)"
    status = run_job(job_for(tmp_path, hog, memory_bytes=400_000_000))
    assert status["failure"]["kind"] == "memory" and "0.40 GB" in status["failure"]["lines"][0] and made(tmp_path) == 1
    assert status["peak_memory_bytes"] > 400_000_000 and not processes_with(str(tmp_path))


BROKEN = {
    "none": ("pass", "without leaving a metrics.json"),
    "cut off": ("(runs / 'metrics.json').write_text('{\"after\": {')", "cannot be read"),
    "a list": ("(runs / 'metrics.json').write_text('[]')", "must be an object"),
    "another figure": ("(runs / 'metrics.json').write_text('{}')", "has no after.validation"),
    "not a number": (WRITE.replace('"bits_per_byte": value', '"bits_per_byte": float("nan")'), "not a finite number"),
    "text": (WRITE.replace('"bits_per_byte": value', '"bits_per_byte": "low"'), "not a finite number"),
    "cut short by its writer": (WRITE.replace('"seconds"', '"kind": "finetune", "seconds"'), "lacks before, curve"),
    "two": (
        "for n in 'ab':\n  (runs / 'tuned' / n).mkdir(parents=True); (runs / 'tuned' / n / 'metrics.json').write_text('{}')",
        "left 2 files",
    ),
}


@pytest.mark.slow(4)
@pytest.mark.parametrize("name", BROKEN)
def test_broken_metrics_are_a_failure_with_its_reason(tmp_path, name):
    write, said = BROKEN[name]
    status = run_job(job_for(tmp_path, write=write))
    assert (status["state"], status["failure"]["kind"]) == ("failed", "metrics") and said in status["failure"]["lines"][0]
    assert made(tmp_path) == 1


@pytest.mark.slow(20)
def test_a_kernel_that_dies_is_tried_again_and_a_notebook_that_always_kills_it_fails(tmp_path):
    once = f"import os\nif not os.path.exists({str(tmp_path / 'flag')!r}):\n    open({str(tmp_path / 'flag')!r}, 'w').close(); os._exit(1)"
    status = run_job(job_for(tmp_path, once))
    assert (status["state"], status["attempt"]) == ("done", 2) and made(tmp_path) == 2
    always = run_job(job_for(tmp_path / "other", "import os; os.kill(os.getpid(), 9)"))
    assert (always["state"], always["failure"]["kind"], always["attempt"]) == ("failed", "dead", 3) and made(tmp_path / "other") == 3


@pytest.mark.slow(8)
def test_a_stop_ends_a_run_and_keeps_nothing_of_it(tmp_path):
    one = job_for(tmp_path, SLEEPS)
    raised = []

    def work():
        try:
            run_job(one)
        except StoppedError as stop:
            raised.append(stop)

    worker = threading.Thread(target=work)
    worker.start()
    while not made(tmp_path):
        time.sleep(0.05)
    store(tmp_path).stop_file.touch()
    worker.join()
    assert raised and left(tmp_path) == [] and not processes_with(str(tmp_path))
    with pytest.raises(StoppedError):
        run_job(one)
    store(tmp_path).stop_file.unlink()


@pytest.mark.slow(5)
def test_a_half_made_run_of_a_worker_that_was_killed_is_begun_anew(tmp_path):
    part = store(tmp_path).part_of("abc")
    part.mkdir(parents=True)
    (part / "metrics.json").write_text(json.dumps({"after": {"validation": {"bits_per_byte": -5.0}}}))
    (part / "status.json").write_text('{"schema": 1, "state": "done", "value": -5.0}')
    assert run_job(job_for(tmp_path))["value"] == pytest.approx(0.02) and left(tmp_path) == ["abc"] and made(tmp_path) == 1


# The layout of a finished and of an unfinished fine-tuning; test_weights.py holds it to the code that trains.
TUNED = """
for folder in ("m/model", "m.unfinished/checkpoints/checkpoint-4"):
    (runs / "tuned" / folder).mkdir(parents=True)
    (runs / "tuned" / folder / "weights").touch()
    (runs / "tuned" / folder.split("/")[0] / "plan.json").write_text('{"learning_rate": 1, "max_steps": 8, "choices": {}}')
"""


def weights(tmp_path):
    folder = store(tmp_path).folder_of("abc")
    return sorted(file.relative_to(folder / "tuned").parts[0] for file in folder.rglob("weights"))


@pytest.mark.slow(5)
@pytest.mark.parametrize("keep", [True, False])
def test_models_stay_where_they_are_wanted_only(tmp_path, keep):
    write = WRITE.replace('runs / "metrics.json"', 'runs / "tuned" / "m" / "metrics.json"')
    run_job(job_for(tmp_path, TUNED, write=write, keep_model=keep))
    assert weights(tmp_path) == (["m", "m.unfinished"] if keep else [])
    assert (store(tmp_path).folder_of("abc") / "metrics.json").is_file()


@pytest.mark.slow(4)
def test_a_failed_run_leaves_no_weights(tmp_path):
    assert run_job(job_for(tmp_path, TUNED, "1 / 0"))["state"] == "failed"
    assert weights(tmp_path) == []


@pytest.mark.slow(5)
def test_a_full_disk_stops_the_sweep_and_the_run_is_not_counted(tmp_path):
    full = "raise OSError(28, 'No space left on device')"
    with pytest.raises(MachineError, match="is full"):
        run_job(job_for(tmp_path, full))
    assert left(tmp_path) == []
