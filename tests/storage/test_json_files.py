"""JSON that others hand in: whatever is in it, a reader says what is wrong or mends it, and nothing else happens."""

import json

import nbformat
import pytest
from typer.testing import CliRunner

from nbtools.cli import app, join_parameters
from nbtools.errors import CourseError, InputError
from nbtools.exercises import EXERCISES, answer_of, check
from nbtools.exercises.progress import Progress, find_files, hardest, progress_file, roll_up, write_progress
from nbtools.notebooks.content import read_content
from nbtools.report import write_page
from nbtools.runs import Job, execute
from nbtools.runs.store import read_status as read_run_status
from nbtools.storage.json_files import parse_json, read_json, read_json_lines
from nbtools.storage.shapes import Is, JsonError, Maybe, Whole, fit
from nbtools.training.hub import write_card

ENDLESS = {
    "deep": "[" * 100_000,
    "deep but closed": "[" * 500 + "]" * 500,
    "huge number": "1" + "0" * 400,
    "huge float": "[1e999",
    "empty": "",
    "blank": " \n",
    "cut off": '{"schema": 1, "exercises"',
    "text": "hello",
    "list": "[]",
    "null": "null",
    "number": "7",
    "twice": '{"schema": 1, "schema": 1}',
    "latin-1": b'{"name": "\xe4"}',
    "binary": b"\x00\xff\x00\x01",
    "object": "{}",
}


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))
    return path


def progress_with(entry):
    return json.dumps({"schema": 1, "name": "Eve", "exercises": {"00-memory": entry}})


ODD_PROGRESS = ENDLESS | {
    "deep entry": f'{{"schema": 1, "exercises": {{"00-memory": {{"tries": {"[" * 900 + "]" * 900}}}}}}}',
    "huge tries": progress_with({"tries": 10**400}),
    "many tries": progress_with({"tries": 10**30}),
    "negative": progress_with({"hints": -1}),
    "nan": progress_with({"tries": float("nan")}),
    "half": progress_with({"tries": 0.5}),
    "true": progress_with({"tries": True}),
    "entries in a list": json.dumps({"schema": 1, "exercises": [["00-memory", {}]]}),
    "a number for a day": progress_with({"solved": 3}),
    "schema true": json.dumps({"schema": True, "exercises": {}}),
    "a list for a name": json.dumps({"schema": 1, "name": [], "exercises": {}}),
}


@pytest.mark.parametrize("content", ODD_PROGRESS.values(), ids=ODD_PROGRESS)
def test_check_never_raises_whatever_the_progress_file_holds(content, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NBTOOLS_RUNS", str(tmp_path))
    before = put(progress_file(), content).read_bytes()
    check("07-adapter", answer_of(EXERCISES["07-adapter"].solution))
    said = capsys.readouterr().out
    assert "07-adapter: solved." in said and "progress could not be saved" in said and progress_file().read_bytes() == before


def test_missing_counts_are_none_so_far(tmp_path, monkeypatch, capsys):
    """A file without `tries` ended `check` in a KeyError."""
    monkeypatch.setenv("NBTOOLS_RUNS", str(tmp_path))
    put(progress_file(), "\ufeff" + json.dumps({"schema": 1, "exercises": {"07-adapter": {"hints": None}}}))
    check("07-adapter", answer_of(EXERCISES["07-adapter"].solution))
    assert "could not be kept" not in capsys.readouterr().out
    entry = json.loads(progress_file().read_text())["exercises"]["07-adapter"]
    assert entry["tries"] == 1 and entry["solved"]


def test_check_never_raises_whatever_the_answer_is(capsys, monkeypatch):
    class SilentError(Exception):
        def __str__(self):
            raise ValueError

    class Odd:
        def __eq__(self, other):
            raise SilentError

        def __iter__(self):
            raise SystemExit(3)

        __float__ = __len__ = __iter__
        __hash__ = None

    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    endless = []
    endless.append(endless)
    for exercise in EXERCISES:
        for answer in (endless, Odd(), Odd, {"a": Odd()}):
            check(exercise, answer)
    assert "RecursionError" in capsys.readouterr().out


def test_odd_files_are_named_beside_a_classs_table_and_break_nothing(tmp_path):
    for number, content in enumerate(ODD_PROGRESS.values()):
        put(tmp_path / f"odd-{number}.json", content)
    (tmp_path / "folder.json").mkdir()
    half = put(tmp_path / "half.json", '\ufeff{"schema": 1, "name": "Zo\\ud83d\\nB", "exercises": {"00-memory": {}}}')
    write_progress(tmp_path / "ada.json", Progress("Ada", {"00-memory": {"tries": 2, "hints": 0, "solved": "2026-01-01"}}))
    people, problems = roll_up(find_files([tmp_path]))
    assert list(people) == ["Ada", "Zo\ufffd B"] and half.is_file() and hardest(people) == [("00-memory", 1, 2, 1.0)]
    assert len(problems) == len(ODD_PROGRESS) + 1 and all(line.count("\n") == 0 for line in problems)
    done = CliRunner().invoke(app, ["progress", str(tmp_path), "--csv", str(tmp_path / "all.csv")])
    assert done.exit_code == 1 and "Ada" in done.output and isinstance(done.exception, (SystemExit, type(None)))


def cell(source, kind="code", **more):
    return (
        {"cell_type": kind, "metadata": {}, "source": source} | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | more
    )


def notebook_with(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": list(cells), **more})


MENDED = {
    "null source": notebook_with(cell(None), cell("print('ran')")),
    "no source": notebook_with({"cell_type": "markdown", "metadata": {}}, cell("print('ran')")),
    "null metadata": notebook_with(cell("print('ran')", metadata=None), metadata=None),
    "null tags": notebook_with(cell("print('ran')", metadata={"tags": None, "papermill": None})),
    "null outputs": notebook_with(cell("print('ran')", outputs=None, execution_count=None)),
    "no minor": notebook_with(cell("print('ran')"), nbformat_minor=None),
    "papermill null": notebook_with(cell("print('ran')"), metadata={"papermill": None, "kernelspec": None}),
    "byte order mark": "\ufeff" + notebook_with(cell(["print(", "'ran')"])),
    "half an emoji": notebook_with(cell("# \ud83d", "markdown"), cell("print('ran')")),
}
REFUSED = ENDLESS | {
    "a text as a cell": notebook_with("print(1)"),
    "a null cell": notebook_with(None),
    "no type": notebook_with({"source": ""}),
    "a number as source": notebook_with(cell(3)),
    "numbers as lines": notebook_with(cell([1, 2])),
    "a text as tags": notebook_with(cell("", metadata={"tags": "x"})),
    "cells as object": json.dumps({"nbformat": 4, "cells": {}}),
    "metadata as list": notebook_with(metadata=[]),
    "an unknown output": notebook_with(cell("", outputs=[{"output_type": "smoke"}])),
    "an output as text": notebook_with(cell("", outputs=["x"])),
    "a number shown as text": notebook_with(cell("", outputs=[{"output_type": "display_data", "data": {"text/plain": 3}, "metadata": {}}])),
    "a huge number": notebook_with(cell(""), metadata={"x": 10**400}),
    "a minor of another kind": notebook_with(nbformat_minor="5"),
    "deep metadata": notebook_with(metadata={"x": json.loads("[" * 300 + "]" * 300)}),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("command", [["run", "--out", "made"], ["solve", "--out", "made"]], ids=["run", "solve"])
def test_a_damaged_notebook_is_refused_in_two_lines(command, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path / "x.ipynb", content)
    done = CliRunner().invoke(app, join_parameters([command[0], str(path), *command[1:]]))
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1, done.exception
    assert len(done.stderr.strip().splitlines()) == 2 and not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", MENDED.values(), ids=MENDED)
def test_what_another_program_left_out_of_a_notebook_is_filled_in(content, tmp_path):
    path = put(tmp_path / "x.ipynb", content)
    nbformat.validate(nbformat.from_dict(read_content(path)))
    out = tmp_path / "solved.ipynb"
    done = CliRunner().invoke(app, ["solve", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    nbformat.validate(nbformat.read(out, as_version=4))


@pytest.mark.slow(9)
def test_a_notebook_with_nulls_runs(tmp_path):
    content = notebook_with(
        cell(None), cell("x = 1", metadata={"tags": None}), cell("print('ran', x)", metadata=None, outputs=None), metadata=None
    )
    done = execute(Job(str(put(tmp_path / "x.ipynb", content))), tmp_path / "out.ipynb", runs=tmp_path)
    assert done.failure is None and "ran 1" in (tmp_path / "out.ipynb").read_text()


def test_an_emptied_exercise_cell_is_said(tmp_path):
    for source in ("", " \n", "\n\n", "x = 1"):
        path = put(tmp_path / "x.ipynb", notebook_with(cell(source, metadata={"tags": ["exercise"]})))
        done = CliRunner().invoke(app, ["solve", str(path), "--out", str(tmp_path / "y.ipynb")])
        assert done.exit_code == 1 and "xercise cell 1" in done.stderr and not (tmp_path / "y.ipynb").exists()


ODD_STATUS = ENDLESS | {
    "failed without why": '{"schema": 1, "state": "failed"}',
    "done without a value": '{"schema": 1, "state": "done"}',
    "a text as value": '{"schema": 1, "state": "done", "value": "low"}',
    "nan": '{"schema": 1, "state": "done", "value": NaN}',
    "a text as failure": '{"schema": 1, "state": "failed", "failure": "it did"}',
    "another state": '{"schema": 1, "state": "lost"}',
    "huge": f'{{"schema": 1, "state": "done", "value": {10**400}}}',
}


@pytest.mark.parametrize("content", ODD_STATUS.values(), ids=ODD_STATUS)
def test_an_odd_status_of_a_sweeps_run_is_worth_nothing(content, tmp_path):
    put(tmp_path / "status.json", content)
    assert read_run_status(tmp_path) is None


ODD_METRICS = ENDLESS | {
    "no notebooks": '{"schema": 1, "kind": "run"}',
    "entries as text": '{"schema": 1, "kind": "run", "notebooks": {"a": "done"}}',
    "a curve of numbers": '{"schema": 1, "kind": "run", "notebooks": {}, "finetune": {"curve": [1, 2]}}',
    "samples as text": '{"schema": 1, "kind": "run", "notebooks": {}, "finetune": {"samples": "none"}}',
}


@pytest.mark.parametrize("content", ODD_METRICS.values(), ids=ODD_METRICS)
def test_odd_metrics_end_a_report_and_a_card_in_two_lines(content, tmp_path):
    put(tmp_path / "metrics.json", content)
    for reader in (write_page, write_card):
        with pytest.raises(CourseError) as error:
            reader(tmp_path)
        assert "\n" not in error.value.problem


def test_a_page_is_written_where_little_is_known(tmp_path):
    curve = [{"step": 1e300, "loss": 1e308}, {"step": 2, "loss": -1e308}, {"step": 3, "loss": None}]
    tuned = {"curve": curve, "before": {"test": {"perplexity": 0}}, "after": {"test": {"perplexity": 1e308}}, "samples": [{}]}
    put(tmp_path / "metrics.json", json.dumps({"schema": 1, "kind": "run", "notebooks": {"a": {"state": "done"}}, "finetune": tuned}))
    assert "<h2>" in write_page(tmp_path).read_text()


def test_what_a_shape_says():
    shape = {"n": Maybe(Whole(0, 9), 0), "list": [{str: float}], "text": Maybe((str, [str]), ""), "one": Maybe(Is(1, "a"))}
    assert fit({"list": [], "text": None, "more": 3}, shape) == {"list": [], "n": 0, "text": "", "more": 3}
    for bad in ({}, [], {"list": 3}, {"list": [{"a": True}]}, {"list": [], "n": 10}, {"list": [], "one": True}, {"list": [], "text": [1]}):
        with pytest.raises(JsonError):
            fit(bad, shape)
    with pytest.raises(JsonError, match=r"holds nan as list\[0\]\.a, which must be a finite number"):
        fit(parse_json('{"list": [{"a": NaN}]}'), shape)


def test_pipes_devices_and_large_files_are_not_read(tmp_path):
    put(tmp_path / "large.json", "[" + "1," * 1000 + "1]")
    with pytest.raises(InputError, match="larger than"):
        read_json(tmp_path / "large.json", most_bytes=1000)
    for path in ("/dev/zero", tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(InputError):
            read_json(path)
    assert read_json(tmp_path / "none", absent=7) == 7


def test_a_line_that_is_half_written_is_left_out(tmp_path):
    put(tmp_path / "x.jsonl", '{"step": 1}\n3\n{"step": "a"}\n{"step": 2}\n{"st')
    assert read_json_lines(tmp_path / "x.jsonl", {"step": int}) == [{"step": 1}, {"step": 2}]
