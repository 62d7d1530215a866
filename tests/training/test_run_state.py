"""A run as its files tell it, whole or half-written."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.generation import generate
from nbtools.training.run_state import QUIET_SECONDS, log_samples, read_run
from tests.small_models import mini


def rows(*steps: int) -> str:
    return "".join(
        json.dumps({"step": step, "loss": 5.0, "learning_rate": 1e-3, "tokens": step * 100, "seconds": step * 2.0}) + "\n" for step in steps
    )


def folder(place: Path, curve: str) -> Path:
    made = place / "run.unfinished"
    made.mkdir()
    (made / "plan.json").write_text(json.dumps({"max_steps": 100}), encoding="utf8")
    (made / "curve.jsonl").write_text(curve, encoding="utf8")
    return made


def test_a_running_training_has_time_left(tmp_path: Path) -> None:
    made = folder(tmp_path, rows(1, 10, 20) + '{"step": 30, "lo')
    run = read_run(tmp_path / "run")
    assert run.state == "running" and [row["step"] for row in run.rows] == [1, 10, 20], "a row that is half-written waits"
    assert run.seconds_left == 160
    old = time.time() - 2 * QUIET_SECONDS
    for path in (*made.iterdir(), made):
        os.utime(path, (old, old))
    assert read_run(tmp_path / "run").state == "stopped"


def test_before_during_and_after(tmp_path: Path) -> None:
    made = folder(tmp_path, "")
    assert read_run(tmp_path / "run").state == "waiting" and read_run(tmp_path / "run").seconds_left is None
    (made / "broken.json").write_text(json.dumps({"problem": "The loss was nan."}), encoding="utf8")
    assert (read_run(tmp_path / "run").state, read_run(tmp_path / "run").line) == ("broken", "The loss was nan.")
    made.rename(tmp_path / "run")
    assert read_run(tmp_path / "run").state == "finished"
    with pytest.raises(InputError, match="no run"):
        read_run(tmp_path / "another")


@pytest.mark.slow(8)
def test_samples_are_what_the_model_writes_and_a_repeated_step_counts_once(tmp_path: Path) -> None:
    made = folder(tmp_path, rows(1))
    for step in (10, 20, 10):  # stopped after 20, and resumed from before 10
        log_samples(made, step, mini(), ["The movie was", "I"])
    samples = read_run(tmp_path / "run").samples
    assert [one["step"] for one in samples] == [10]
    prompt, text = samples[0]["texts"][0]
    assert prompt + text == generate(mini(), "The movie was", max_new_tokens=40, seed=0, temperature=0.7, top_k=50, top_p=0.95)
