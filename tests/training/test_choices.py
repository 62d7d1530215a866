"""What a run decides by itself, and that it says why."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch

from nbtools.data import pack
from nbtools.errors import InputError, MachineError
from nbtools.system import choose_dtype
from nbtools.training import TrainingChoices, choices, finetune
from nbtools.training.checkpoints import OpenRun
from nbtools.training.choices import measure_choices
from nbtools.training.config import ResolvedConfig
from nbtools.training.loop import Loop
from tests.accel.test_fast_path import REVIEWS, batch
from tests.small_models import needs_a_compiler, tiny

LONG = 10_000_000  # steps, for which a comparison is worth its time even with the smallest model
FINETUNE = sys.modules["nbtools.training.finetune"]  # the package's `finetune` is the function


def config(steps: int, **wanted) -> ResolvedConfig:
    return ResolvedConfig(learning_rate=1e-3, batch_size=1, max_steps=steps, **wanted)


def decide(steps: int, lm=None, **wanted) -> TrainingChoices:
    lm = lm or tiny()
    return measure_choices(lm.model, batch(lm), config(steps, **{"dtype": "fp32", **wanted}))


def timed(monkeypatch, fast: float, library: float) -> None:
    """Passes that take the given numbers of seconds on any machine."""
    monkeypatch.setattr(choices, "time_passes", lambda model, inputs, path, dtype: library if path is None else fast)


@pytest.mark.parametrize(
    ("steps", "fast", "library", "loss", "why"),
    [
        (10, 1.0, 0.4, "fused", choices.SHORT),
        (300, 1.0, 0.4, "fused", choices.SHORT),
        (LONG, 0.4, 1.0, "fused", "a block takes 0.4 s instead of 1 s (measured)"),
        (LONG, 1.1, 1.0, "library", "a block takes 1 s, and 1.1 s on the fast path (measured)"),
    ],
)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_path_with_the_shorter_pass_is_taken(monkeypatch, dtype, steps, fast, library, loss, why):
    timed(monkeypatch, fast, library)
    chosen = decide(steps, dtype=dtype)
    assert chosen.loss == loss and why in chosen.path_reason and not chosen.compile
    assert why in chosen.describe()
    if loss == "library":
        assert not chosen.onednn and not chosen.bf16_copies


def test_both_paths_are_really_timed():
    chosen = decide(LONG)
    assert chosen.plain_pass_seconds is not None and chosen.library_pass_seconds is not None
    assert chosen.loss == ("fused" if chosen.plain_pass_seconds <= chosen.library_pass_seconds else "library")


@pytest.mark.parametrize("faster", [False, True])
def test_onednn_multiplies_in_fp32_where_it_is_faster(monkeypatch, faster):
    monkeypatch.setattr(choices, "onednn_is_faster", lambda: faster)
    assert decide(10).onednn is faster
    assert decide(10, dtype="bf16").onednn is False  # PyTorch calls it there by itself


def test_without_a_compiler_compiling_is_refused(monkeypatch):
    monkeypatch.setattr(choices, "compiler_available", lambda: False)
    with pytest.raises(MachineError, match="no C\\+\\+ compiler"):
        decide(10, compile=True)


def test_a_compiler_that_cannot_compile_is_none(monkeypatch, tmp_path, capsys):
    import torch._inductor.config

    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with torch._inductor.config.patch({"cpp.cxx": (str(broken),), "fx_graph_cache": False}):
        torch._dynamo.reset()
        assert not choices.compiler_available()
    torch._dynamo.reset()
    assert "torch.compile does not work here" in capsys.readouterr().out


@pytest.mark.slow(13)
@needs_a_compiler
def test_what_is_asked_for_is_not_measured(monkeypatch):
    def never(*_):
        raise AssertionError("this was asked for, so nothing is to be measured")

    monkeypatch.setattr(choices, "time_passes", never)
    monkeypatch.setattr(choices, "choose_dtype", never)
    chosen = decide(1, dtype="bf16", compile=True, threads=1)
    assert (chosen.dtype, chosen.compile, chosen.threads) == ("bf16", True, 1)
    assert {chosen.dtype_reason, chosen.threads_reason} == {"asked for"}


def test_the_probe_changes_nothing(monkeypatch):
    lm = tiny()
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    before, state = {name: weight.clone() for name, weight in lm.model.state_dict().items()}, torch.get_rng_state()
    decide(10, lm, dtype="bf16")
    assert all(weight.equal(before[name]) for name, weight in lm.model.state_dict().items())
    assert torch.get_rng_state().equal(state) and not lm.model.training
    assert all(weight.grad is None for weight in lm.model.parameters())


@pytest.mark.parametrize("bad", [{"dtype": "int8"}, {"threads": 0}, {"threads": 1.5}])
def test_impossible_wishes_are_refused(bad):
    with pytest.raises(InputError):
        decide(10, **bad)


def test_a_model_of_another_kind_is_trained_as_the_library_has_it():
    lm = tiny()
    lm.model.config.model_type = "opt"
    chosen = decide(10_000, lm)
    assert chosen.loss == "library" and not chosen.compile
    with pytest.raises(MachineError, match="GPT-2 and Llama-like"):
        decide(10, lm, compile=True)


def test_a_run_keeps_its_choices_and_a_resume_repeats_them(tmp_path, monkeypatch):
    lm = tiny()
    threads = torch.get_num_threads()
    other = threads + 1
    tuned = finetune(lm, pack(REVIEWS, lm, 64), output_dir=tmp_path / "run", max_steps=2, batch_size=1, dtype="fp32", threads=other)
    assert tuned.choices.threads == other and torch.get_num_threads() == threads, "what comes afterwards has its own number"
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["choices"] == tuned.choices.to_dict()


@pytest.mark.parametrize("form", ["as estimated", "as stored"])
def test_choices_that_are_given_are_repeated_and_nothing_is_measured(tmp_path, monkeypatch, form):
    lm = tiny()
    given = decide(10, lm, threads=torch.get_num_threads())
    monkeypatch.setattr(FINETUNE, "measure_choices", lambda *_, **__: pytest.fail("measured again"))
    passed = given if form == "as estimated" else given.to_dict()
    tuned = finetune(lm, pack(REVIEWS, lm, 64), output_dir=tmp_path / "run", max_steps=1, batch_size=1, choices=passed)
    assert tuned.choices == given
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["choices"] == given.to_dict()


@pytest.mark.parametrize(
    ("change", "beside", "words"),
    [
        ({}, {"dtype": "fp32"}, "choices were given together with dtype"),
        ({"threads": ...}, {}, "choices lack threads"),
        ({"device": "cuda:7"}, {}, "made for cuda:7"),
        ({"bf16_copies": True}, {"lora": True}, "another kind of model"),
    ],
)
def test_choices_that_cannot_be_kept_here_are_refused_before_anything_is_written(tmp_path, change, beside, words):
    if "lora" in beside:
        pytest.importorskip("peft")
    lm = tiny()
    given = {name: value for name, value in (decide(10, lm).to_dict() | change).items() if value is not ...}
    with pytest.raises(InputError, match=words):
        finetune(lm, pack(REVIEWS, lm, 64), output_dir=tmp_path / "run", max_steps=1, batch_size=1, choices=given, **beside)
    assert list(tmp_path.iterdir()) == []


def test_choices_to_compile_need_a_compiler(monkeypatch):
    lm = tiny()
    monkeypatch.setattr(choices, "compiler_available", lambda: False)
    with pytest.raises(MachineError, match="no C\\+\\+ compiler"):
        choices.reuse_choices(lm.model, replace(decide(10, lm), compile=True), config(10))


@pytest.mark.parametrize(("name", "capability", "number"), [("T4", (7, 5), "fp16"), ("A100", (8, 0), "bf16"), ("H100", (9, 0), "bf16")])
def test_on_a_gpu_the_trainer_gets_the_format_that_the_gpu_supports(tmp_path, monkeypatch, name, capability, number):
    """A T4, which Colab lends, computes bf16 by emulation alone, and PyTorch's `is_bf16_supported` says yes all the same."""
    monkeypatch.setenv("NBTOOLS_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    choose_dtype.cache_clear()
    try:
        lm = tiny()
        chosen = decide(10_000, lm, dtype=None)
    finally:
        choose_dtype.cache_clear()
    assert (chosen.device, chosen.dtype, chosen.loss, chosen.bf16_copies, chosen.compile) == ("cuda", number, "library", False, False)
    told = {}

    class ToldError(Exception):
        pass

    def arguments(**settings):
        told.update(settings)
        raise ToldError  # a trainer would look for the GPU itself

    monkeypatch.setattr("nbtools.training.loop.TrainingArguments", arguments)
    monkeypatch.setattr(ResolvedConfig, "per_device_batch_size", 1)  # accelerate would look for the GPU too
    with pytest.raises(ToldError):
        Loop(lm.model, pack(REVIEWS, lm, 64), OpenRun(tmp_path, chosen), config(10)).train([])
    assert (told["fp16"], told["bf16"], told["use_cpu"]) == (number == "fp16", number == "bf16", False)
