"""The training monitor on real runs: begun, followed, stopped by its button, resumed, and read afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from nbtools.errors import InputError, RunError
from nbtools.training.checkpoints import newest_checkpoint
from nbtools.widgets import TrainingMonitor
from tests.gate import HANG_SECONDS
from tests.widgets.front_end import ask

SMALL: dict[str, Any] = {"max_reviews": 40, "block_size": 64, "batch_size": 2, "dataset": "package"}
PROMPTS = ("The movie was", "<b>I</b>")


@pytest.fixture(autouse=True)
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)


@pytest.mark.slow
def test_a_run_in_another_process_is_followed_to_its_end(tmp_path: Path) -> None:
    monitor = TrainingMonitor.start(tmp_path / "run", max_steps=20, prompts=PROMPTS, **SMALL)
    assert monitor.wait(HANG_SECONDS) == "finished", monitor.line
    curve = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text(encoding="utf8").splitlines()]
    assert monitor.rows == curve and monitor.steps == 20 and not monitor.can_stop
    assert [one["step"] for one in monitor.samples] == [10, 20] and monitor.samples[0]["texts"][1][0] == "<b>I</b>"
    assert (tmp_path / "run" / "metrics.json").is_file()
    replayed = TrainingMonitor(tmp_path / "run")
    assert (replayed.state, replayed.rows, replayed.samples) == ("finished", curve, monitor.samples)
    assert "<b>I" not in replayed.static_html() and repr(replayed) == "TrainingMonitor('run', steps=20)"


@pytest.mark.slow
def test_the_button_stops_and_saves_and_the_run_goes_on_later(tmp_path: Path) -> None:
    monitor = TrainingMonitor.start(tmp_path / "run", max_steps=3000, prompts=(), **SMALL)
    other = None
    while monitor.state in {"waiting", "running"} and not monitor.rows:
        time.sleep(0.1)
    other = TrainingMonitor(tmp_path / "run")
    assert other.state == "running" and other.rows
    assert "not started here" in ask(other, "stop").error
    assert ask(monitor, "stop").error == ""
    assert monitor.wait(HANG_SECONDS) == "stopped" and "resume=True" in monitor.line
    other.close()
    checkpoint = newest_checkpoint(tmp_path / "run.unfinished" / "checkpoints")
    assert checkpoint is not None
    again = TrainingMonitor.start(tmp_path / "run", max_steps=3000, prompts=(), resume=True, **SMALL)
    reached = int(checkpoint.name.removeprefix("checkpoint-"))
    while again.state in {"waiting", "running"} and (not again.rows or again.rows[-1]["step"] <= reached):
        time.sleep(0.1)
    assert again.state == "running", again.line
    ask(again, "stop")
    again.wait(HANG_SECONDS)


@pytest.mark.slow
def test_a_mistake_in_the_settings_is_its_line(tmp_path: Path) -> None:
    monitor = TrainingMonitor.start(tmp_path / "run", profile="minny", **SMALL)
    assert monitor.wait(HANG_SECONDS) == "stopped" and "minny" in monitor.line


@pytest.mark.slow
def test_where_outputs_are_stored_it_blocks_and_fails_like_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    with pytest.raises(RunError, match="minny"):
        TrainingMonitor.start(tmp_path / "run", profile="minny", **SMALL)


def test_where_there_is_no_run_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run"):
        TrainingMonitor(tmp_path / "nothing")
