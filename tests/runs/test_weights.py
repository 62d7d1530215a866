"""What is deleted of a run whose weights nobody wants, in folders that the training itself made."""

import pytest
from transformers import TrainerCallback

from nbtools.runs.store import drop_models
from nbtools.training import finetune
from tests.small_models import tiny
from tests.training.test_survival import blocks


class Fails(TrainerCallback):
    """Fails one step after the second checkpoint."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            raise ValueError("lost")


def train(folder, *callbacks):
    settings = {"batch_size": 2, "max_steps": 6, "checkpoint_steps": 2, "dtype": "fp32", "compile": False, "callbacks": callbacks}
    return finetune(tiny(), blocks(), output_dir=folder, **settings)


def weights(folder):
    return list(folder.rglob("*.safetensors"))


@pytest.mark.parametrize("place", ["tuned/mini", "own/mini/all-weights", "elsewhere"])
def test_a_run_that_failed_while_it_trained_keeps_no_checkpoint(tmp_path, place):
    with pytest.raises(ValueError, match="lost"):
        train(tmp_path / place, Fails())
    assert len(weights(tmp_path)) == 2, "checkpoints are there"
    drop_models(tmp_path)
    assert weights(tmp_path) == [] and list(tmp_path.rglob("curve.jsonl")), "what was measured stays"


def test_a_finished_run_keeps_all_but_its_model(tmp_path):
    train(tmp_path / "tuned" / "mini")
    assert len(weights(tmp_path)) == 1
    drop_models(tmp_path)
    assert weights(tmp_path) == [] and (tmp_path / "tuned" / "mini" / "plan.json").is_file()


def test_what_is_called_like_a_checkpoint_or_a_model_and_is_no_fine_tuning_stays(tmp_path):
    for name in ("model", "checkpoints", "tuned/mine/model"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "w.safetensors").write_bytes(b"mine")
    (tmp_path / "plan.json").write_text('{"my": "plan"}')
    drop_models(tmp_path)
    assert len(weights(tmp_path)) == 3
