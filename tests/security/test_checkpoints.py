"""A checkpoint planted by an attacker, with a mark that fits it: what it pickles never runs, and the refusal is two lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

import nbtools
from nbtools.errors import RunError
from nbtools.training.checkpoints import COMPLETE, mark_complete
from tests.security.hostile import Runs
from tests.small_models import tiny

pytestmark = pytest.mark.xdist_group("checkpoints")

TEXTS = [f"A film numbered {number} that was good, and long enough to be read {number * 7} times." for number in range(60)]


class Stop(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        if state.global_step == 3:
            control.should_save = control.should_training_stop = True


def train(folder: Path, resume: bool, *callbacks: TrainerCallback) -> Any:
    lm = tiny()
    return nbtools.finetune(
        lm, nbtools.pack(TEXTS, lm, 32), output_dir=folder / "run", max_steps=6, batch_size=2, dtype="fp32", compile=False, threads=1,
        checkpoint_steps=3, resume=resume, callbacks=callbacks,
    )  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(RunError, match="Stopped at step 3"):
        train(folder, False, Stop())
    return folder


@pytest.fixture
def folder(interrupted: Path, tmp_path: Path) -> Path:
    shutil.copytree(interrupted, tmp_path / "copy")
    return tmp_path / "copy"


def plant(folder: Path, file: str, content: Any) -> Path:
    checkpoint = folder / "run.unfinished" / "checkpoints" / "checkpoint-3"
    torch.save(content, checkpoint / file)
    (checkpoint / COMPLETE).unlink()
    mark_complete(checkpoint)
    return checkpoint


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_in_a_planted_checkpoint_never_runs(folder: Path, file: str) -> None:
    checkpoint = plant(folder, file, {"state": Runs(folder / "ran")})
    with pytest.raises(RunError, match="something other than tensors") as caught:
        train(folder, True)
    assert str(checkpoint) in caught.value.problem and not (folder / "ran").exists()


def test_pickled_weights_in_a_planted_checkpoint_never_run(folder: Path) -> None:
    checkpoint = folder / "run.unfinished" / "checkpoints" / "checkpoint-3"
    (checkpoint / "model.safetensors").unlink()
    plant(folder, "pytorch_model.bin", {"lm_head.weight": Runs(folder / "ran")})
    with pytest.raises(RunError, match="something other than tensors"):
        train(folder, True)
    assert not (folder / "ran").exists()


def test_the_pickled_arguments_of_a_checkpoint_are_never_opened(folder: Path) -> None:
    plant(folder, "training_args.bin", Runs(folder / "ran"))
    assert train(folder, True).steps == 6 and not (folder / "ran").exists()


def test_a_pickle_that_runs_would_have_been_noticed(folder: Path) -> None:
    torch.save(Runs(folder / "ran"), folder / "planted.pt")
    torch.load(folder / "planted.pt", weights_only=False)
    assert (folder / "ran").is_dir()


def test_a_mark_that_names_files_elsewhere_has_none_of_them_changed(folder: Path) -> None:
    checkpoint = folder / "run.unfinished" / "checkpoints" / "checkpoint-3"
    outside = folder / "outside.txt"
    outside.write_text("mine")
    (checkpoint / COMPLETE).write_text(json.dumps({"files": {"../../../outside.txt": {"bytes": 4, "sha256": "0"}}}))
    assert train(folder, True).steps == 6, "the checkpoint is put aside, and the run begins again"
    assert outside.read_text() == "mine"
