"""Progress is stored in the learner's file, and a teacher can read the files of a class."""

import csv
import json
import os
import subprocess
import sys

import pytest

from nbtools.errors import InputError
from nbtools.exercises import EXERCISES, answer_of, check
from nbtools.exercises.progress import Progress, find_files, hardest, progress_file, read_progress, roll_up, write_progress


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NBTOOLS_RUNS", str(tmp_path / "runs"))


def nbtools(*arguments):
    command = [sys.executable, "-m", "nbtools.cli", "progress", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})


def test_tries_are_counted_until_it_is_solved(capsys):
    exercise = EXERCISES["07-adapter"]
    first, second = exercise.wrong
    check("07-adapter", ...)
    assert not progress_file().exists()  # a stub is not a try
    check("07-adapter", answer_of(first))
    check("07-adapter", answer_of(second))
    check("07-adapter", answer_of(exercise.solution))
    check("07-adapter", answer_of(first))  # a later wrong answer changes nothing
    entry = read_progress(progress_file()).exercises["07-adapter"]
    assert entry["tries"] == 3 and entry["solved"] and entry["hints"] >= 1


def test_headless_runs_store_no_progress(monkeypatch):
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    check("07-adapter", answer_of(EXERCISES["07-adapter"].solution))
    assert not progress_file().exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 7}', '{"schema": 1, "exercises": 3}', '{"schema": 1, "exercises": {"a": 3}}'])
def test_a_broken_file_gets_a_message_and_is_not_overwritten(capsys, content):
    progress_file().parent.mkdir(parents=True)
    progress_file().write_text(content)
    check("07-adapter", answer_of(EXERCISES["07-adapter"].solution))
    output = capsys.readouterr().out
    assert "solved." in output and "could not be saved" in output and progress_file().read_text() == content
    with pytest.raises(InputError, match="not a progress file"):
        read_progress(progress_file())


def test_the_command_shows_what_is_solved_and_what_is_next(tmp_path):
    check("00-bigram", answer_of(EXERCISES["00-bigram"].solution))
    done = nbtools("--name", "Ada")
    assert done.returncode == 0 and f"1 of {len(EXERCISES)} exercises solved. Next: 00-memory" in done.stdout
    assert json.loads(progress_file().read_text())["name"] == "Ada"


def make(folder, name, solved, tries=1):
    entries = {exercise_id: {"tries": tries, "hints": 0, "solved": "2026-01-01"} for exercise_id in solved}
    return write_progress(folder / f"{name or 'nobody'}.json", Progress(name, entries | {"04-shift": {"tries": 9, "hints": 3}}))


def test_a_teacher_sees_every_learner_and_the_hardest_exercises(tmp_path):
    folder = tmp_path / "sent"
    make(folder, "Ada", ["00-memory", "01-scale"])
    make(folder, "Ben", ["00-memory"])
    make(folder, "", ["00-memory"], tries=2)
    (folder / "broken.json").write_text("{")
    done = nbtools(folder, "--csv", tmp_path / "all.csv")
    assert done.returncode == 1 and "broken.json is not a progress file" in done.stdout.replace("\n", "")
    assert "Ada" in done.stdout and "Ben" in done.stdout and "nobody" in done.stdout
    assert done.stdout.index("04-shift") < done.stdout.index("00-memory")
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert {row["name"] for row in rows} == {"Ada", "Ben", "nobody"} and len(rows) == 7


def test_two_people_with_the_same_name_are_listed_separately(tmp_path):
    files = [make(tmp_path / "a", "Ada", ["00-memory"]), make(tmp_path / "b", "Ada", [])]
    people, problems = roll_up(files)
    assert list(people) == ["Ada", "Ada (2)"] and not problems
    assert hardest(people)[0] == ("04-shift", 0, 2, 9.0)


def test_a_formula_in_a_name_stays_text_in_a_spreadsheet(tmp_path):
    make(tmp_path / "sent", "=cmd()", ["00-memory"])
    nbtools(tmp_path / "sent", "--csv", tmp_path / "all.csv")
    assert {row["name"] for row in csv.DictReader((tmp_path / "all.csv").open())} == {"'=cmd()"}


def test_missing_files_raise_an_error(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        find_files([tmp_path / "none"])
    with pytest.raises(InputError, match="no progress file"):
        find_files([tmp_path])
