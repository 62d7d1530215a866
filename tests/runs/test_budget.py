"""What a planned run will take: from the record, from an estimate where a notebook trains, and when it is too much."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbtools.errors import MachineError
from nbtools.notebooks import costs
from nbtools.notebooks.fingerprint import fingerprint, library_versions
from nbtools.runs import budget, plan_run
from nbtools.runs.budget import preview
from nbtools.training import Estimate, TrainingChoices
from tests.runs.small_notebooks import write_notebook

FOUND = Estimate({"steps": 50.0, "scoring": 10.0}, 10, 5.0, 2 * 10**9, 9 * 10**9, 3 * 10**9, 10**9, 9 * 10**9, TrainingChoices(), 6.0)
TRAINED = dict.fromkeys([1, 2, 3], "finetune")  # which cells of TRAINS an estimate stands for
TRAINS = 'reviews = load_reviews("package")', "plan = estimate(lm)", "before = evaluate(lm)", "tuned = finetune(lm)", "draw(tuned)"
PARAMETERS = 'profile: str = "mini"\nmodel: str = None\nmax_steps: int = None\nbatch_size: int = 4\noutput_dir: str = None'


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of three notebooks with their records: one looks, one trains, one takes a tuned model."""
    folder = tmp_path / "notebooks"
    write_notebook(folder, "00_look", "look()", parameters='profile: str = "mini"')
    write_notebook(folder, "04_train", *TRAINS, parameters=PARAMETERS, tags=TRAINED)
    write_notebook(
        folder,
        "05_compare",
        "base = 1",
        "tuned = tuned_model(base)",
        "draw()",
        parameters='profile: str = "mini"\nmodel: str = None',
        tags={1: "tuned-model"},
    )
    record = {"matmul_gflops": 100.0, "cores": 2, "peak_memory_bytes": 10**9}
    notebooks = {
        "00_look": record | {"seconds": 60.0, "cell_seconds": [0.0, 58.0]},
        "04_train": record | {"seconds": 405.0, "cell_seconds": [0.0, 20.0, 10.0, 100.0, 260.0, 10.0]},
        "05_compare": record | {"seconds": 45.0, "cell_seconds": [0.0, 5.0, 20.0, 15.0]},
    }
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"schema": costs.SCHEMA, "notebooks": notebooks}))
    monkeypatch.setattr(costs, "COSTS_FILE", file)
    monkeypatch.setattr(budget, "measure_matmul", lambda dtype: 50.0)  # half as fast as where it was recorded
    monkeypatch.setattr(budget, "available_memory", lambda: 8 * 10**9)
    monkeypatch.setattr(budget, "_estimate", lambda values, runs, tag: FOUND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seconds(*names: str, **given: Any) -> list[float | None]:
    return [cost.seconds for cost in preview(plan_run(names, given, out="runs/here")).costs]


def test_a_record_is_scaled_and_a_training_is_estimated(clone: Path) -> None:
    found = preview(plan_run(["00", "04"], {"batch_size": "2"}, out="runs/here"))
    look, train = found.costs
    assert (look.seconds, look.memory_bytes) == (120.0, 10**9)
    # Twice the other cells (20 + 10) and the start (5), the estimate (60) and its probe (6).
    assert (train.seconds, train.memory_bytes) == (2 * 35 + 66, 2 * 10**9)
    assert train.disk_bytes == pytest.approx(3 * 10**9, rel=0.01) and train.parameters == {"batch_size": 2}
    assert found.problem is None and not (clone / "runs").exists()


def test_the_estimate_is_given_defaults_and_given_values(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(budget, "_estimate", lambda values, runs, tag: asked.append((values, runs)) or FOUND)
    seconds("04", max_steps="7", profile="smollm2")
    [(values, runs)] = asked
    assert values == {"profile": "smollm2", "model": None, "max_steps": 7, "batch_size": 4, "output_dir": None}
    assert runs == clone / "runs" / "here"


def status_of(entries: dict[str, Any]) -> dict[str, Any]:
    """What a run of these notebooks leaves in its status.json."""
    about = {"state": "done", "created": "2026-01-01", "command": ["nbtools"], "nbtools": "0.1.0", "machine": {}}
    return {"schema": 1, "versions": library_versions(), "notebooks": entries, **about}


def test_a_quick_model_is_trained_only_where_none_will_be_found(clone: Path) -> None:
    quick, found = 2 * 25 + 66, 2 * 45
    assert seconds("05") == [quick]
    assert seconds("04", "05")[1] == found
    assert seconds("05", "04")[0] == quick  # it comes too late
    assert seconds("04", "05", output_dir="elsewhere")[1] == quick
    assert seconds("05", model="a/folder") == [found]
    place = clone / "runs" / "here" / "tuned" / "mini" / "model"
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (clone / "runs" / "here" / "status.json").write_text(json.dumps(status_of({})))
    assert budget._finds_a_model(plan_run(["05"], out="runs/here").notebooks[0], {"profile": "mini"}, plan_run(["05"], out="runs/here"))


def test_what_is_done_already_costs_nothing(clone: Path) -> None:
    plan = plan_run(["00", "04"], out="runs/here")
    marks = {notebook.name: fingerprint(notebook, {}) for notebook in plan.notebooks}
    plan.folder.mkdir(parents=True)
    (plan.folder / "00_look.ipynb").write_text("")
    status = status_of({"00_look": {"state": "done", "fingerprint": marks["00_look"], "parameters": {}}})
    (plan.folder / "status.json").write_text(json.dumps(status))
    assert seconds("00", "04")[0] == 0 and "done already" in preview(plan).costs[0].note
    status["notebooks"]["04_train"] = {
        "state": "done",
        "fingerprint": "another",
        "parameters": {},
    }  # one that changed makes the whole run begin anew
    (plan.folder / "status.json").write_text(json.dumps(status))
    assert seconds("00", "04")[0] == 120


def test_cells_that_are_not_those_recorded_are_not_counted_and_it_is_said(clone: Path) -> None:
    write_notebook(clone / "notebooks", "04_train", *TRAINS, "one_more()", parameters=PARAMETERS, tags=TRAINED)
    [train] = preview(plan_run(["04"], out="runs/here")).costs
    assert train.seconds == 66 and "have changed since" in train.note


def test_another_profile_is_not_what_was_recorded(clone: Path) -> None:
    notes = [cost.note for cost in preview(plan_run(["00", "04"], profile="smollm2", out="runs/here")).costs]
    assert notes == ["recorded with mini", "its other cells with mini"]


def test_what_does_not_fit_is_a_problem_with_advice(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_run(["00", "04"], out="runs/here")
    monkeypatch.setattr(budget, "available_memory", lambda: 10**9)
    problem = preview(plan).problem
    assert problem is not None and problem.problem == "04_train needs 2.0 GB of memory, and 1.0 GB are free."

    class Disk:
        free = 10**9

    monkeypatch.setattr(budget, "available_memory", lambda: 8 * 10**9)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda place: Disk)
    problem = preview(plan).problem
    assert problem is not None and "3.0 GB of disk" in problem.problem and "--out" in problem.remedy


def test_a_refused_estimate_stands_in_the_table_and_is_the_problem(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(values: Any, runs: Path, tag: str) -> Estimate:
        raise MachineError("It needs 99 GB.", "Take less.")

    monkeypatch.setattr(budget, "_estimate", refuse)
    found = preview(plan_run(["00", "04"], out="runs/here"))
    assert found.costs[0].seconds == 120 and found.costs[1].seconds is None
    assert found.problem is not None and found.problem.remedy == "Take less."
    [line] = [line for line in shown(found) if line.startswith("04_train")]
    assert line.split()[1:3] == ["–", "–"] and "It needs 99 GB." in line


def test_an_estimate_whose_probe_was_disturbed_is_not_shown_as_known(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(FOUND, disturbance="the processor was busy elsewhere for 67% of the time")
    monkeypatch.setattr(budget, "_estimate", lambda values, runs, tag: found)
    for name in ("04", "05"):
        looked, train = preview(plan_run(["00", name], out="runs/here")).costs
        assert looked.seconds == 120 and train.seconds is None and train.memory_bytes == 2 * 10**9
        assert "busy elsewhere" in train.note and re.search(r"if that goes on, \d\.\d minutes", train.note)
    [total] = [line for line in shown(preview(plan_run(["00", "04"], out="runs/here"))) if line.startswith("Total")]
    assert "over 2.0" in total


def test_the_table_ends_with_a_total(clone: Path) -> None:
    lines = shown(preview(plan_run(["00", "04"], {"max_steps": "3"}, out="runs/here")))
    [train] = [line for line in lines if line.startswith("04_train")]
    [total] = [line for line in lines if line.startswith("Total")]
    assert "2.3" in train and "2.0 GB" in train and "max_steps 3" in train
    assert "4.3" in total and "2.0 GB" in total and "free: 8.0 GB of memory" in total


def shown(found: budget.Budget) -> list[str]:
    from rich.console import Console

    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(found.table())
    return [line.strip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    "words", ["# after finetune(lm) and estimate(lm)", "print('evaluate(lm), tuned_model(base)')", "def finetune(): ..."]
)
def test_a_word_in_a_comment_broke_the_cost(clone: Path, words: str) -> None:
    """A second "finetune(" anywhere in the source meant that nothing was estimated; any of the words, that a cell was not counted."""
    before = seconds("00", "04", "05")
    sources = [f"{source}\n{words}" for source in TRAINS]
    write_notebook(clone / "notebooks", "04_train", *sources, parameters=PARAMETERS, tags=TRAINED)
    write_notebook(clone / "notebooks", "00_look", f"look()\n{words}", parameters='profile: str = "mini"')
    assert seconds("00", "04", "05") == before


def test_a_call_under_another_name_is_estimated_as_well(clone: Path) -> None:
    sources = [source.replace("finetune(lm)", "nbtools.training.finetune (lm)").replace("estimate(lm)", "plan_it(lm)") for source in TRAINS]
    before = seconds("04")
    write_notebook(clone / "notebooks", "04_train", *sources, parameters=PARAMETERS, tags=TRAINED)
    assert seconds("04") == before


def test_the_courses_own_notebooks_are_told_apart() -> None:
    from nbtools.notebooks import choose_notebooks

    assert [notebook.name for notebook in choose_notebooks() if budget.trains(notebook)] == ["04_finetuning"]
    assert [notebook.name for notebook in choose_notebooks() if any(notebook.tagged(budget.TUNED_MODEL))] == ["05_sampling"]


def test_the_cells_of_the_course_that_call_what_is_estimated_have_its_tag() -> None:
    """Of a notebook that uses the tags, so that a new cell that trains is not counted twice."""
    import ast

    from nbtools.notebooks import choose_notebooks

    calls = {budget.FINETUNE: {"estimate", "finetune"}, budget.TUNED_MODEL: {"tuned_model"}}
    for notebook in choose_notebooks():
        for tag, names in calls.items():
            if not any(notebook.tagged(tag)):
                continue
            trees = [ast.parse(source) for source in notebook.code]
            called = [
                {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
                for tree in trees
            ]
            # A training on twenty reviews takes as long whatever the parameters are, so the record says how long.
            fixed = ["overfit_epochs" in source for source in notebook.code]
            untagged = [
                bool(names & found) for found, has, same in zip(called, notebook.tagged(tag), fixed, strict=True) if not has and not same
            ]
            assert not any(untagged), notebook.name
