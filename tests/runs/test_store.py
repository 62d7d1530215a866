import json
import os
import subprocess
import sys

import pytest

from nbtools.notebooks import fingerprint as fingerprints
from nbtools.notebooks import read_notebook
from nbtools.runs import RunStore, read_plan
from nbtools.runs.identity import run_id
from nbtools.runs.store import is_due, read_status, write_status
from nbtools.runs.sweeps import jobs_of
from tests.runs.small_sweeps import write_tiny


@pytest.fixture
def tiny(tmp_path):
    return read_notebook(write_tiny(tmp_path / "nb"))


def test_the_id_is_of_the_values_however_they_were_given(tiny):
    assert run_id(tiny, {}) == run_id(tiny, {"rate": 0.1}) == run_id(tiny, {"size": 2, "rate": 0.1})
    assert run_id(tiny, {}) != run_id(tiny, {"rate": 0.2})
    assert len(run_id(tiny, {})) == 12


def test_a_value_given_and_the_same_value_left_out_are_one_run(tiny, tmp_path):
    assert len(jobs_of(read_plan({"notebook": str(tiny.path), "list": [{"rate": 0.1}, {"size": 2}]}), tmp_path)) == 1


def test_another_code_cell_is_another_run_and_another_text_or_output_is_not(tmp_path):
    first = read_notebook(write_tiny(tmp_path / "a"))
    again = read_notebook(write_tiny(tmp_path / "b"))
    other = read_notebook(write_tiny(tmp_path / "c", "more = 1"))
    content = json.loads(again.path.read_text())
    content["cells"][0]["source"] = "# Another title"
    content["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    again.path.write_text(json.dumps(content))
    assert run_id(first, {}) == run_id(read_notebook(again.path), {}) != run_id(other, {})


def test_the_content_of_a_local_model_or_file_is_part_of_the_id(tiny, tmp_path):
    data = tmp_path / "data.txt"
    data.write_text("one")
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_text("w")
    of_file, of_folder = run_id(tiny, {"word": str(data)}), run_id(tiny, {"word": str(folder)})
    data.write_text("two")
    (folder / "deep" / "weights").write_text("v")
    assert run_id(tiny, {"word": str(data)}) != of_file and run_id(tiny, {"word": str(folder)}) != of_folder
    data.write_text("one")
    assert run_id(tiny, {"word": str(data)}) == of_file
    for odd in ("", "x" * 5_000, "a\0b", "two\nlines", "."):
        assert run_id(tiny, {"word": odd})


def test_a_library_that_decides_numbers_changes_the_id_and_another_does_not(tiny, monkeypatch):
    before = run_id(tiny, {})
    monkeypatch.setattr(fingerprints, "installed_version", lambda name: "99" if name == "pandas" else "1")
    same = run_id(tiny, {})
    monkeypatch.setattr(fingerprints, "installed_version", lambda name: "99" if name == "torch" else "1")
    assert len({before, same, run_id(tiny, {})}) == 3  # one: the real versions; two: all "1", pandas aside; three: torch alone moved
    monkeypatch.setattr(fingerprints, "installed_version", lambda name: "98" if name == "pandas" else "1")
    assert run_id(tiny, {}) == same


def test_a_status_is_whole_or_worth_nothing(tmp_path):
    write_status(tmp_path, {"state": "done", "value": 1.0})
    text = (tmp_path / "status.json").read_text()
    assert read_status(tmp_path) == {"schema": 1, "state": "done", "value": 1.0}
    for broken in (
        text[:-5],
        "",
        "[]",
        '{"schema": 1}',
        '{"schema": 2, "state": "done"}',
        '{"schema": 1, "state": "perfect"}',
        "\x00" * 40,
    ):
        (tmp_path / "status.json").write_text(broken)
        assert read_status(tmp_path) is None


def test_a_folder_with_a_broken_status_is_set_aside_never_deleted(tmp_path):
    folder = RunStore(tmp_path).folder_of("abc")
    folder.mkdir(parents=True)
    (folder / "status.json").write_text('{"schema": 1, "sta')
    (folder / "kept.txt").write_text("mine")
    assert RunStore(tmp_path).ended("abc") is None and not folder.exists()
    assert (tmp_path / "runs" / "abc-1" / "kept.txt").read_text() == "mine"


def test_what_is_due():
    def failed(kind):
        return {"state": "failed", "failure": {"kind": kind}}

    assert is_due(None, False) and not is_due({"state": "done"}, True)
    assert all(is_due(failed(kind), False) for kind in ("dead", "lost", "start"))
    assert not any(is_due(failed(kind), False) for kind in ("error", "time", "memory", "metrics"))
    assert is_due(failed("error"), True)


def test_a_run_whose_worker_is_gone_is_interrupted_not_running(tmp_path):
    part = tmp_path / "runs" / "abc.part"
    part.mkdir(parents=True)
    write_status(part, {"state": "running"})
    store = RunStore(tmp_path)
    assert store.state_of("abc")["state"] == "interrupted" and store.state_of("other")["state"] == "waiting"
    hold = (
        "from filelock import FileLock; import sys\n"
        f"lock = FileLock({str(tmp_path / 'runs' / '.abc.lock')!r}); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert store.state_of("abc")["state"] == "running"
        holder.kill()
    assert store.state_of("abc")["state"] == "interrupted"
