import json

import pytest

import nbtools.notebooks.costs as costs
from nbtools.notebooks import box

RECORD = {"seconds": 120.0, "peak_memory_bytes": 900_000_000, "cell_seconds": [20.0, 80.0, 20.0], "matmul_gflops": 100.0, "cores": 2}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    file = tmp_path / "costs.json"
    short = {**RECORD, "seconds": 60.0, "cell_seconds": [30.0, 30.0]}
    file.write_text(json.dumps({"schema": 1, "notebooks": {"01_a": RECORD, "02_b": short}}))
    monkeypatch.setattr(costs, "COSTS_FILE", file)
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)


def shown(capsys, monkeypatch, gflops, free=8e9, model="mini", held=0):
    monkeypatch.setattr(costs, "measure_matmul", lambda dtype: gflops)
    monkeypatch.setattr(costs, "available_memory", lambda: int(free))
    monkeypatch.setattr(costs, "held_memory", lambda: int(held))
    monkeypatch.setattr("nbtools.training.memory.free_memory", lambda: int(free))
    monkeypatch.setattr("nbtools.training.memory.held_memory", lambda: int(held))
    box("01_a", model)
    return capsys.readouterr().out


def test_a_machine_half_as_fast_needs_twice_the_minutes(recorded, capsys, monkeypatch):
    line = shown(capsys, monkeypatch, 50.0)
    assert line.startswith("About 4 minutes and 0.9 GB of memory on this machine (estimated from") and "8.0 GB free now" in line
    assert "About 2 minutes" in shown(capsys, monkeypatch, 100.0)


def test_the_assumed_speedup_is_limited(recorded, capsys, monkeypatch):
    assert shown(capsys, monkeypatch, 250.0).startswith("About 1 minute and")
    assert shown(capsys, monkeypatch, 100_000.0).startswith("Under a minute and")
    monkeypatch.setattr(costs, "MAX_SPEEDUP", 1.0)
    assert shown(capsys, monkeypatch, 100_000.0).startswith("About 2 minutes and")


def test_too_little_memory_prints_a_warning(recorded, capsys, monkeypatch):
    assert "That is not enough" in shown(capsys, monkeypatch, 100.0, free=5e8)
    assert "That is not enough" not in shown(capsys, monkeypatch, 100.0, free=1e9)


def test_the_kernels_current_memory_counts_as_available(recorded, capsys, monkeypatch):
    assert "That is not enough" not in shown(capsys, monkeypatch, 100.0, free=5e8, held=5e8)
    assert "That is not enough" in shown(capsys, monkeypatch, 100.0, free=5e8, held=3e8)


def test_another_profile_prints_its_requirements_and_whether_they_are_met(recorded, capsys, monkeypatch):
    """With only mini measured, smollm2 began to train in 2 GB after a box that had said 0.9."""
    assert "smollm2" not in shown(capsys, monkeypatch, 100.0)
    needs = "smollm2: about 1.1 GB to sample, 5.0 GB to fine-tune all weights."
    enough = shown(capsys, monkeypatch, 100.0, free=6e9, model="smollm2")
    assert needs in enough and "not enough" not in enough
    assert "1.9 GB that this notebook can have are not enough" in shown(capsys, monkeypatch, 100.0, free=1.4e9, held=5e8, model="smollm2")
    assert shown(capsys, monkeypatch, 100.0, free=5e8, held=4e8, model="smollm2").endswith("not enough: take a smaller profile.\n")
    assert "What owner/name needs" in shown(capsys, monkeypatch, 100.0, model="owner/name")


def test_the_stored_line_does_not_depend_on_the_machine(recorded, capsys, monkeypatch):
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    assert {shown(capsys, monkeypatch, speed, free) for speed, free in ((50.0, 1e9), (500.0, 8e9))} == {
        "About 2 minutes and 0.9 GB of memory (recorded on a machine with 2 processor cores).\n"
    }


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": 1}', '{"schema": 1, "notebooks": {"01_a": {}}}', '{"schema": 1, "notebooks": {"01_a": 3}}']
)
def test_a_broken_record_prints_a_line_and_does_not_end_the_notebook(content, tmp_path, monkeypatch, capsys):
    (tmp_path / "costs.json").write_text(content, encoding="utf8")
    monkeypatch.setattr(costs, "COSTS_FILE", tmp_path / "costs.json")
    box("01_a")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_a_record_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "COSTS_FILE", tmp_path / "none.json")
    box("01_a")
    assert capsys.readouterr().out == "Time and memory of this notebook have not been measured yet.\n"
