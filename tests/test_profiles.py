"""Which model a notebook takes by itself: GPT-2 on a GPU of Colab, mini everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nbtools.system
from nbtools.errors import InputError
from nbtools.notebooks import choose_notebooks
from nbtools.notebooks.parameters import all_values, check_parameters
from nbtools.profiles import PROFILES, choose_profile, resolve_profile
from nbtools.runs import plan_run


@pytest.fixture
def on_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260801")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(nbtools.system, "device", lambda: torch.device("cuda"))


def test_auto_is_mini_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_profile("auto") == "mini"
    assert capsys.readouterr().out == "Profile: mini, which auto means everywhere but on a GPU of Colab.\n"
    assert choose_profile("gpt2") == "gpt2" and capsys.readouterr().out == ""


def test_auto_is_gpt2_on_a_gpu_of_colab(on_colab: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_profile("auto") == "gpt2" and "gpt2" in capsys.readouterr().out
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_profile("auto") == "mini"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(nbtools.system, "device", lambda: torch.device("cpu"))
    assert resolve_profile("auto") == "mini"


def test_a_run_is_identified_by_the_model_that_it_has(on_colab: None, tmp_path: Path) -> None:
    plan = plan_run(["04"], {"seed": 1}, out=tmp_path / "run")
    assert plan.parameters["04_finetuning"] == {"seed": 1, "profile": "gpt2"}
    [notebook] = choose_notebooks(["04"])
    assert all_values(notebook, {})["profile"] == "gpt2"


def test_elsewhere_a_run_is_what_it_was() -> None:
    [notebook] = choose_notebooks(["04"])
    assert check_parameters([notebook], {"seed": 1}) == {"04_finetuning": {"seed": 1}}
    assert check_parameters([notebook], {"profile": "auto"}) == {"04_finetuning": {"profile": "mini"}}
    assert all_values(notebook, {})["profile"] == "mini"


def test_another_profile_is_refused() -> None:
    with pytest.raises(InputError, match="no profile called 'gpt3'"):
        choose_profile("gpt3")
    assert "auto" not in PROFILES
