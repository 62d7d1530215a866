import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

import nbtools.runs.course as course
import nbtools.runs.worker as worker
from nbtools.errors import InputError, RunError
from nbtools.runs import Execution, SharedStore, plan_run, run_notebooks
from tests.runs.small_notebooks import printed, write_notebook

pytestmark = pytest.mark.slow(6)


class Silent:
    """Keeps what was said and finished."""

    def __init__(self):
        self.said, self.finished = [], []

    def say(self, text):
        self.said.append(text)

    def update(self, progress):
        pass

    def finish(self, job, status, progress):
        self.finished.append(job.name)


def read_status(folder):
    return SharedStore(folder).read()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Two notebooks, each of which leaves a trace of every execution beside its outputs."""
    trace = "import os, pathlib\nwith open(pathlib.Path(os.environ['NBTOOLS_RUNS']) / 'trace.txt', 'a') as file:\n    file.write('{} ')"
    for name in ("00_setup", "01_next"):
        write_notebook(tmp_path / "notebooks", name, trace.format(name[:2]), "print(seed)", parameters="seed: int = 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NBTOOLS_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def instant(monkeypatch):
    """For tests of the bookkeeping alone: a copy stands in for the execution, and a cell with 1 / 0 for a failure."""

    def copy(job, output, **options):
        execution = Execution(job.name, cell=3, total=3, source="1 / 0", seconds=1.0, output=output)
        if "1 / 0" in Path(job.notebook).read_text():
            execution.output = output.with_name(f"{job.name}.failed.ipynb")
            execution.fail("error", ["ZeroDivisionError"])
        shutil.copy(job.notebook, execution.output)
        options["watch"](execution)
        return execution

    monkeypatch.setattr(worker, "execute", copy)


def go(*names, given=None, out=None):
    observer = Silent()
    return run_notebooks(plan_run(names, given, None, out), observer), observer


def test_the_whole_course_runs_into_runs_course_and_never_twice(clone):
    outcome, observer = go(given={"seed": "7"})
    folder = clone / "runs" / "course"
    assert outcome.folder == folder and outcome.ran == observer.finished == ["00_setup", "01_next"]
    assert printed(folder / "01_next.ipynb") == "7\n" and (folder / "trace.txt").read_text() == "00 01 "
    status = read_status(folder)
    assert status["state"] == "done" and {entry["state"] for entry in status["notebooks"].values()} == {"done"}
    again, observer = go(given={"seed": "7"})
    assert (again.ran, again.kept, again.missing) == ([], ["00_setup", "01_next"], [])
    assert (folder / "trace.txt").read_text() == "00 01 " and "Already done" in observer.said[0]


TRAINS = """
import datetime, json, os
from pathlib import Path
folder = Path(output_dir) if output_dir else Path(os.environ["NBTOOLS_RUNS"], "tuned", "mini")
folder.mkdir(parents=True, exist_ok=True)
if seed:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    (folder / "metrics.json").write_text(json.dumps({"kind": "finetune", "created": now, "seed": seed}))
"""


@pytest.mark.parametrize("place", ["elsewhere", "{clone}/elsewhere", "../{name}/elsewhere", "~/elsewhere", "runs/mine/inside"])
def test_a_run_whose_training_went_elsewhere_says_where_and_holds_its_figures(clone, monkeypatch, place):
    monkeypatch.setenv("HOME", str(clone))
    monkeypatch.setenv("USERPROFILE", str(clone))
    write_notebook(clone / "notebooks", "04_finetuning", TRAINS, parameters="output_dir: str = None\nseed: int = 1")
    go("04", given={"output_dir": place.format(clone=clone, name=clone.name)}, out=clone / "runs" / "mine")
    metrics = json.loads((clone / "runs" / "mine" / "metrics.json").read_text())
    assert metrics["finetune"]["seed"] == 1
    assert (clone / "runs" / "mine" / metrics["finetune_folder"] / "metrics.json").is_file()
    assert not (clone / "notebooks" / "elsewhere").exists(), "a relative path is relative to where the command was typed"


def test_an_earlier_training_in_the_same_place_is_not_taken_for_this_one(clone):
    write_notebook(clone / "notebooks", "04_finetuning", TRAINS, parameters="output_dir: str = None\nseed: int = 1")
    (clone / "elsewhere").mkdir()
    earlier = {"kind": "finetune", "created": "2020-01-01T00:00:00+00:00", "seed": 7}
    (clone / "elsewhere" / "metrics.json").write_text(json.dumps(earlier))
    go("04", given={"output_dir": "elsewhere", "seed": 0})
    metrics = json.loads((clone / "runs" / "04_finetuning" / "metrics.json").read_text())
    assert metrics["finetune"] is None and metrics["finetune_folder"] is None


def test_a_changed_parameter_sets_the_old_run_aside_and_says_so(clone, instant):
    go(given={"seed": "1"})
    outcome, observer = go(given={"seed": "2"})
    assert outcome.ran == ["00_setup", "01_next"]
    kept, fresh = (read_status(clone / "runs" / name)["notebooks"]["00_setup"]["parameters"] for name in ("course-1", "course"))
    assert (kept, fresh) == ({"seed": 1}, {"seed": 2}) and (clone / "runs" / "course-1" / "00_setup.ipynb").is_file()
    assert "course-1" in observer.said[0]


def test_changed_code_sets_aside_and_changed_text_does_not(clone, instant):
    go("00")
    path = clone / "notebooks" / "00_setup.ipynb"
    path.write_text(path.read_text().replace("# A notebook", "# Another title"))
    assert go("00")[0].ran == []
    path.write_text(path.read_text().replace("print(seed)", "print(seed + 1)"))
    outcome, _ = go("00")
    assert outcome.ran == ["00_setup"] and (clone / "runs" / "00_setup-1").is_dir()


def test_other_versions_of_the_libraries_set_aside(clone, instant, monkeypatch):
    go("00")
    monkeypatch.setattr(course, "library_versions", lambda: {"torch": "0"})
    outcome, observer = go("00")
    assert outcome.ran == ["00_setup"] and "versions" in observer.said[0]


def test_after_a_failure_the_rest_is_not_run_and_the_next_call_goes_on(clone, instant):
    path = clone / "notebooks" / "01_next.ipynb"
    write_notebook(clone / "notebooks", "02_last", "print('last')")
    good = path.read_text()
    path.write_text(good.replace("print(seed)", "1 / 0  # print(seed)"))
    outcome, _ = go()
    folder = clone / "runs" / "course"
    assert (outcome.ran, outcome.missing, outcome.failed) == (["00_setup"], ["01_next", "02_last"], "01_next")
    status = read_status(folder)
    assert {name: entry["state"] for name, entry in status["notebooks"].items()} == {
        "00_setup": "done",
        "01_next": "failed",
        "02_last": "waiting",
    }
    assert (folder / "01_next.failed.ipynb").is_file() and not (folder / "01_next.ipynb").exists()
    assert json.loads((folder / "metrics.json").read_text())["notebooks"]["01_next"]["failure"]["cell"] == 3
    again, _ = go()
    assert again.kept == ["00_setup"] and again.failed is not None  # the same code: 00 is kept, 01 is tried again


def test_an_interrupted_run_keeps_what_is_done(clone, monkeypatch):
    observer, hold = Silent(), clone / "hold"  # as long as this file is there, the second notebook does not end
    waiting = f"import pathlib, time\nwhile pathlib.Path({str(hold)!r}).exists(): time.sleep(0.05)"
    write_notebook(clone / "notebooks", "01_next", waiting)
    hold.touch()

    def interrupt(progress):
        if "01_next" in progress.executions and progress.executions["01_next"].cell:
            raise KeyboardInterrupt

    observer.update = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_notebooks(plan_run(), observer)
    folder = clone / "runs" / "course"
    assert read_status(folder)["state"] == read_status(folder)["notebooks"]["01_next"]["state"] == "stopped"
    hold.unlink()
    outcome, _ = go()
    assert (outcome.kept, outcome.ran) == (["00_setup"], ["01_next"]) and read_status(folder)["state"] == "done"


def test_a_folder_that_an_earlier_version_left_is_read_and_what_is_done_in_it_is_kept(clone, instant):
    """Entries were shorter before runs and sweeps had one store: a failure had neither kind nor source."""
    go("00", out=clone / "mine")
    status = read_status(clone / "mine")
    old = {
        "state": "failed",
        "fingerprint": "?",
        "parameters": {},
        "failure": {"reason": "the cell raised an error", "cell": 1, "lines": ["x"]},
    }
    done = {key: status["notebooks"]["00_setup"][key] for key in ("state", "fingerprint", "parameters", "title", "seconds")}
    status["notebooks"] = {"00_setup": done, "02_gone": old}
    (clone / "mine" / "status.json").write_text(json.dumps(status))
    outcome, _ = go("00", "01", out=clone / "mine")
    assert (outcome.kept, outcome.ran) == (["00_setup"], ["01_next"]) and read_status(clone / "mine")["notebooks"]["02_gone"][
        "state"
    ] == "failed"
    (clone / "mine" / "status.json").write_text(json.dumps(status | {"schema": 0}))
    with pytest.raises(RunError, match="cannot be read: it holds 0 as schema"):
        go("00", out=clone / "mine")


def test_another_notebook_may_join_a_finished_folder(clone, instant):
    go("00", out=clone / "mine")
    outcome, _ = go("01", out=clone / "mine")
    assert outcome.ran == ["01_next"] and list(read_status(clone / "mine")["notebooks"]) == ["00_setup", "01_next"]


def test_a_folder_that_is_not_a_run_is_never_touched(clone):
    (clone / "precious").mkdir()
    (clone / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="is not a run of notebooks"):
        plan_run(["00"], out=clone / "precious")
    assert (clone / "precious" / "thesis.txt").read_text() == "years"


def test_two_runs_do_not_share_a_folder(clone):
    plan = plan_run(["00"], out=clone / "mine")
    with FileLock(clone / ".mine.lock"), pytest.raises(RunError, match="Another run is at work"):
        run_notebooks(plan, Silent())


def test_the_metrics_hold_what_fine_tuning_left(clone):
    record = {"schema": 1, "kind": "finetune", "profile": "mini", "after": {"test": {"perplexity": 30.0}}}
    code = (
        "import json, os, pathlib\nfolder = pathlib.Path(os.environ['NBTOOLS_RUNS']) / 'tuned' / 'mini'\nfolder.mkdir(parents=True)\n"
        f"(folder / 'metrics.json').write_text(json.dumps({record!r}))"
    )
    write_notebook(clone / "notebooks", "04_finetuning", code)
    go("04")
    metrics = json.loads((clone / "runs" / "04_finetuning" / "metrics.json").read_text())
    assert metrics["finetune"] == record and metrics["schema"] == 1
    assert metrics["finetune_folder"] == "tuned/mini"
    assert metrics["notebooks"]["04_finetuning"]["peak_memory_bytes"] > 10e6 and metrics["notebooks"]["04_finetuning"]["seconds"] > 0
