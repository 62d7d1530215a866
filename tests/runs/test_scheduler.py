"""A whole sweep: what is made, what is kept, what a stop loses (nothing)."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nbtools import sweep
from nbtools.errors import InputError, RunError
from nbtools.runs import LocalExecutor, RunStore, read_plan, run_sweep
from nbtools.runs.store import read_status
from tests.gate import HANG_SECONDS
from tests.runs.small_notebooks import processes_with
from tests.runs.small_sweeps import Silent, begun, counting, start_sweep, write_tiny

pytestmark = pytest.mark.slow(12)


def test_a_sweep_gives_a_table_best_first_and_the_same_call_makes_nothing_again(tmp_path, monkeypatch):
    counting(tmp_path, monkeypatch)
    asked = {"notebook": str(write_tiny(tmp_path / "nb")), "grid": {"rate": [0.1, 0.3], "size": [1, 2]}, "seeds": [0, 5]}
    table = sweep(asked, tmp_path / "out", workers=2)
    assert list(table["state"]) == ["done"] * 8 and table["value"].is_monotonic_increasing
    assert table.loc[0, ["rate", "size", "seed"]].to_dict() == {"rate": 0.3, "size": 1, "seed": 0}
    assert table.loc[0, "value"] == pytest.approx(0.01) and table.loc[0, "validation_perplexity"] == pytest.approx(2**0.01)
    again = sweep(asked, tmp_path / "out")
    assert list(again["run"]) == list(table["run"]) and len(begun(tmp_path)) == 8


def test_a_changed_plan_makes_what_is_new_only(tmp_path, monkeypatch):
    counting(tmp_path, monkeypatch)
    asked = {"notebook": str(write_tiny(tmp_path / "nb")), "grid": {"rate": [0.1, 0.2]}}
    sweep(asked, tmp_path / "out")
    table = sweep({**asked, "grid": {"rate": [0.2, 0.3]}}, tmp_path / "out")
    assert list(table["rate"]) == [0.3, 0.2] and len(begun(tmp_path)) == 3


def test_a_changed_code_cell_makes_all_of_it_again(tmp_path, monkeypatch):
    counting(tmp_path, monkeypatch)
    asked = {"notebook": str(write_tiny(tmp_path / "nb")), "grid": {"rate": [0.1, 0.2]}}
    sweep(asked, tmp_path / "out")
    write_tiny(tmp_path / "nb", "more = 1")
    sweep(asked, tmp_path / "out")
    assert len(begun(tmp_path)) == 4


TUNED = """
tuned = runs / "tuned" / "m"
(tuned / "model").mkdir(parents=True)
(tuned / "model" / "w").touch()
(tuned / "plan.json").write_text('{"choices": {}, "learning_rate": 0.001, "max_steps": 1}')
"""


def has_model(folder, run):
    return any(RunStore(folder).folder_of(run).glob("tuned/*/model"))


@pytest.mark.parametrize(("keep", "kept"), [("none", []), ("best", [0.3]), ("all", [0.1, 0.3, 0.4])])
def test_models_are_kept_as_asked(tmp_path, keep, kept):
    asked = {"notebook": str(write_tiny(tmp_path / "nb", TUNED)), "grid": {"rate": [0.1, 0.3, 0.4]}, "keep": keep}
    table = sweep(asked, tmp_path / "out")
    there = [rate for run, rate in zip(table["run"], table["rate"], strict=True) if has_model(tmp_path / "out", run)]
    assert sorted(there) == kept


def test_more_may_be_better(tmp_path):
    asked = {"notebook": str(write_tiny(tmp_path / "nb", TUNED)), "grid": {"rate": [0.1, 0.3]}, "better": "higher"}
    table = sweep(asked, tmp_path / "out")
    assert list(table["rate"]) == [0.1, 0.3]
    assert [has_model(tmp_path / "out", run) for run in table["run"]] == [True, False]


def test_a_failing_run_does_not_stop_the_others_and_is_made_again_when_asked(tmp_path, monkeypatch):
    counting(tmp_path, monkeypatch)
    flag = tmp_path / "flag"
    cell = f"from pathlib import Path\nif size == 2 and not Path({str(flag)!r}).exists(): raise ValueError('not yet')"
    asked = {"notebook": str(write_tiny(tmp_path / "nb", cell)), "grid": {"size": [1, 2, 3]}}
    table = sweep(asked, tmp_path / "out")
    assert list(table["state"]) == ["done", "done", "failed"] and table["failure"][2] == "the cell raised an error"
    flag.touch()
    assert list(sweep(asked, tmp_path / "out")["state"]) == ["done", "done", "failed"] and len(begun(tmp_path)) == 3
    assert list(sweep(asked, tmp_path / "out", retry_failed=True)["state"]) == ["done"] * 3 and len(begun(tmp_path)) == 4


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    asked = {"notebook": str(write_tiny(tmp_path / "nb")), "list": [{}]}
    for place, said in ((tmp_path, "is not a sweep"), (tmp_path / "mine.txt", "is a file")):
        with pytest.raises(InputError, match=said):
            sweep(asked, place)


def test_two_sweeps_on_one_folder(tmp_path):
    slow = write_tiny(tmp_path / "nb", "import time; time.sleep(3)")
    asked = {"notebook": str(slow), "grid": {"size": [1, 2]}}
    with start_sweep(tmp_path, asked) as first:
        first.wait_for(lambda: begun(tmp_path))
        with pytest.raises(RunError, match="Another sweep is at work"):
            run_sweep(read_plan(asked), tmp_path / "out", LocalExecutor(1), Silent())
        assert first.process.wait(HANG_SECONDS) == 0
    assert len(begun(tmp_path)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, number):
    asked = {"notebook": str(write_tiny(tmp_path / "nb", "import time; time.sleep(1)")), "grid": {"size": [1, 2, 3, 4]}}
    with start_sweep(tmp_path, asked, "--workers", "2") as first:
        first.wait_for(lambda: len(first.done()) >= 1 and len(begun(tmp_path)) >= 3)
        first.process.send_signal(number)
        assert first.process.wait(HANG_SECONDS) == 128 + number
        said = first.output()
    assert "Stopped. Finished results are kept" in said and "nbtools sweep" in said and "Traceback" not in said
    done = first.done()
    assert 1 <= len(done) < 4 and not processes_with(str(tmp_path / "out"))
    assert not (tmp_path / "out" / "stop").exists() and not list((tmp_path / "out" / "runs").glob("*.part"))
    with start_sweep(tmp_path, asked, "--workers", "2") as again:
        assert again.process.wait(HANG_SECONDS) == 0
        assert f"{len(done)} of 4 runs are over already" in again.output()
    counts = begun(tmp_path)
    assert all(counts.count(run) == 1 for run in done) and len(again.done()) == 4


def test_status_from_another_terminal(tmp_path):
    asked = {"notebook": str(write_tiny(tmp_path / "nb", "import time; time.sleep(8)")), "grid": {"size": [1, 2]}}
    with start_sweep(tmp_path, asked) as running:
        running.wait_for(lambda: list((tmp_path / "out" / "runs").glob("*.part")))
        command = [sys.executable, "-m", "nbtools.cli", "sweep", "--status", str(tmp_path / "out")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "1 running, 1 waiting, of 2" in said
        assert running.process.wait(HANG_SECONDS) == 0
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "2 done, of 2" in said and "Best: after.validation.bits_per_byte" in said


def test_the_record_says_how_to_do_it_again(tmp_path):
    asked = {"notebook": str(write_tiny(tmp_path / "nb")), "grid": {"size": [1]}}
    with start_sweep(tmp_path, asked) as made:
        assert made.process.wait(HANG_SECONDS) == 0
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert record["asked"] == yaml.safe_load((tmp_path / "sweep.yaml").read_text()) == asked
    assert record["command"][:2] == ["nbtools", "sweep"] and len(record["packages_sha256"]) == 64
    assert any(line.startswith("torch==") for line in (tmp_path / "out" / "packages.txt").read_text().splitlines())
    assert all(read_status(RunStore(tmp_path / "out").folder_of(run["id"]))["state"] == "done" for run in record["runs"])
    assert Path(tmp_path / "out" / "index.html").is_file()
