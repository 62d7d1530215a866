"""The fine-tuned model of notebook 05: the newest one that exists, else a quick one that is trained and cached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nbtools.models import save_model
from nbtools.training import quick
from tests.small_models import mini


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NBTOOLS_RUNS", str(tmp_path))
    monkeypatch.setattr(quick, "QUICK_STEPS", 2)
    lm = mini()
    return replace(lm, profile=replace(lm.profile, max_reviews=40))


def weights(lm) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in lm.model.parameters()])


@pytest.mark.slow(15)
def test_without_a_finished_model_a_quick_one_is_trained_reported_and_cached(base, tmp_path, capsys):
    untouched = weights(base).clone()
    tuned = quick.tuned_model(base)
    assert "a quick one is trained now: 2 steps" in capsys.readouterr().out
    assert not torch.equal(weights(tuned), untouched)
    assert torch.equal(weights(base), untouched)
    assert (tmp_path / "tuned" / "mini-quick" / "model" / "model.safetensors").is_file()
    again = quick.tuned_model(base)
    assert "mini-quick, from notebook 05" in capsys.readouterr().out
    assert torch.equal(weights(again), weights(tuned))


def test_the_model_of_notebook_04_is_taken_before_a_quick_one(base, tmp_path, capsys):
    save_model(base, tmp_path / "tuned" / "mini-quick" / "model")
    save_model(base, tmp_path / "tuned" / "mini" / "model")
    quick.tuned_model(base)
    assert "Fine-tuned model: mini, from notebook 04" in capsys.readouterr().out


def test_a_named_folder_is_taken_as_it_is(base, tmp_path):
    folder = save_model(base, tmp_path / "elsewhere")
    assert torch.equal(weights(quick.tuned_model(base, folder)), weights(base))
