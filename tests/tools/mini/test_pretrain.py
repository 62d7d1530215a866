"""A pretraining from end to end on a tiny corpus: it learns, resumes to the last digit, and leaves a model that plain transformers loads.

`python -m tests.tools.mini.test_pretrain FOLDER STEP` is the run that a test kills: it ends itself with SIGKILL after that step.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from nbtools.errors import InputError
from tests.training.test_survival import KILL
from tools.mini.corpus import Document
from tools.mini.pretrain import Pretrained, check_fits, held_out_score, pretrain
from tools.mini.recipe import Recipe

RECIPE = Recipe(
    vocabulary=320, layers=2, heads=2, width=32, context=64, batch_size=4, steps=24, short=16, short_share=0.5, rate=0.01, schedule="wsd"
)
WORDS = "the old house by the sea was calm and the man who lived there was glad of it".split()


def books(count: int = 6) -> list[Document]:
    """Texts with something to learn: the order of words in a sentence is always the same."""
    names = ("Ann", "Tom", "Eve", "Max", "Ida", "Leo", "Una")
    return [
        Document(f"book {number}", " ".join(f"{' '.join(WORDS[number % 5 :])}, said {names[(number + turn) % 7]}." for turn in range(36)))
        for number in range(count)
    ]


def run(folder: Path, recipe: Recipe = RECIPE, **keywords: Any) -> Pretrained:
    settings = {"dtype": "fp32", "compile": False, "threads": 2, "checkpoint_steps": 5} | keywords
    return pretrain(books()[:5], books()[5:], recipe, folder, **settings)


@pytest.mark.slow(6)
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_what_the_texts_have_in_common(tmp_path: Path, optimizer: str) -> None:
    done = run(tmp_path / "m", replace(RECIPE, optimizer=optimizer))
    assert done.curve[0]["loss"] == pytest.approx(math.log(len(done.lm.tokenizer)), abs=0.2), "at first all are equally likely"
    scored = [row["held_out_bits_per_byte"] for row in done.curve if "held_out_bits_per_byte" in row]
    assert scored[-1] < 0.6 * scored[0] or scored[-1] < 1.5
    assert done.curve[-1]["tokens"] <= RECIPE.tokens == 24 * 4 * 64
    assert not (tmp_path / "m.unfinished").exists() and not (tmp_path / "m" / "checkpoints").exists()


@pytest.mark.slow(7)
def test_what_is_stored_is_the_returned_model_in_16_bits(tmp_path: Path) -> None:
    done = run(tmp_path / "m")
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "m" / "model", dtype="float32")
    ids = torch.arange(20)[None]
    assert torch.equal(stored(ids).logits, done.lm.model(ids).logits)
    assert (tmp_path / "m" / "model" / "model.safetensors").stat().st_size < 2.2 * RECIPE.stored_parameters + 20_000
    assert held_out_score(done.lm, books()[5:]).bits_per_byte < 6


@pytest.mark.slow(15)
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tools.mini.test_pretrain", str(tmp_path / "killed"), "13"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -KILL, ended.stderr
    again = run(tmp_path / "killed", resume=True)
    for one, other in zip(whole.lm.model.parameters(), again.lm.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [row["loss"] for row in again.curve] == [row["loss"] for row in whole.curve]


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "m", callbacks=[Stop()])
    with pytest.raises(InputError, match=r"rate was 0\.01, is 0\.02"):
        run(tmp_path / "m", replace(RECIPE, rate=0.02), resume=True)


def test_a_model_too_large_to_ship_is_refused() -> None:
    check_fits(Recipe(), 24_000_000)
    with pytest.raises(InputError, match="24 MB are allowed"):
        check_fits(Recipe(width=512), 24_000_000)


class _Killing(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), KILL)


if __name__ == "__main__":
    run(Path(sys.argv[1]), callbacks=[_Killing(int(sys.argv[2]))])
    print(json.dumps("not killed"))
