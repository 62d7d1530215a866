"""What happens beside the steps does not end a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from nbtools.training.callbacks import Curve


def test_a_picture_of_the_curve_that_cannot_be_drawn_does_not_end_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def draw(rows: list[dict[str, Any]], title: str) -> Any:
        raise RuntimeError("no fonts\nat all")

    class Display:
        def update(self, picture: Any) -> None:
            raise AssertionError("there is no picture")

    curve = Curve(tmp_path / "curve.jsonl", 1, None, draw)
    curve.live = Display()
    state = TrainerState(max_steps=20, is_world_process_zero=True, log_history=[])
    for step in range(1, 21):
        row = {"loss": 1.0, "step": step, "learning_rate": 0.0}
        state.global_step = step
        state.log_history.append(row)
        curve.on_log(TrainingArguments(), state, TrainerControl(), logs=row)
    assert [row["step"] for row in curve.rows] == [1, 10, 20]
    assert capsys.readouterr().err == "The picture of the curve is left out. RuntimeError: no fonts\n"
