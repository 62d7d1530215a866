"""The budget preview: it changes nothing, says what finetune then does, and refuses what cannot be."""

from __future__ import annotations

import importlib
import itertools
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nbtools.data import load_reviews, pack
from nbtools.errors import InputError, MachineError
from nbtools.evaluation import BATCH_TOKENS, computed_tokens, evaluate
from nbtools.models import load_model
from nbtools.system import wait_for_rest
from nbtools.training import Estimate, TrainingChoices, estimate, finetune, memory, probe
from nbtools.training.choices import FORMATS, compiler_available
from nbtools.training.memory import PeakMemory, check_least_memory, held_memory, least_memory
from nbtools.training.probe import MOST_PROBES, PROBE_STEPS, Lap, Probe, disturbance
from tests.small_models import tiny

MODULE = importlib.import_module("nbtools.training.estimate")  # the package hands on the function of that name
PLAN: dict[str, Any] = {"batch_size": 2, "max_steps": 22, "learning_rate": 3e-3, "dtype": "fp32", "compile": False}


@pytest.fixture(scope="module")
def reviews():
    return load_reviews("package", 100)


def state(lm) -> list[Any]:
    model = lm.model
    weights = [weight.detach().clone() for weight in model.parameters()]
    flags = [(weight.requires_grad, None if weight.grad is None else weight.grad.clone()) for weight in model.parameters()]
    names = [name for name, _ in model.named_modules()]
    plain = (model.training, model.config.use_cache, model.config._attn_implementation, lm.trained, torch.get_num_threads())
    return [weights, flags, names, sorted(vars(model)), plain, torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.equal(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.slow(8)
@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        *itertools.product(["plain", "lora", "library"], ["fp32", "bf16"]),
        pytest.param("compiled", "fp32", marks=pytest.mark.slow(25)),
        pytest.param("compiled", "bf16", marks=pytest.mark.long(25)),
    ],
)
def test_it_leaves_everything_as_it_was(reviews, tmp_path, way, dtype):
    """Weights, gradients, mode, modules, random states and threads bit for bit; nothing on the disk."""
    if way == "compiled" and not compiler_available():
        pytest.skip("no C++ compiler")
    if way == "lora":
        pytest.importorskip("peft")
    lm = tiny()
    if way == "library":
        lm.model.config.model_type = "unheard-of"
    lm.model.train()
    weight = next(lm.model.parameters())
    weight.grad = torch.ones_like(weight)
    (tmp_path / "mine.txt").write_text("kept")
    before = state(lm)
    ways = {"compile": way == "compiled", "lora": way == "lora", "dtype": dtype}
    found = estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", validation=reviews.validation, **{**PLAN, **ways})
    for one, other in zip(before, state(lm), strict=True):
        assert same(one, other)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine.txt"]
    assert found.choices.loss == ("library" if way == "library" else "fused") and found.choices.dtype == dtype
    fresh = tiny()
    fresh.model.config.model_type = lm.model.config.model_type  # scored on the same path
    texts = reviews.validation[:4]["text"]
    assert evaluate(lm, texts).nll == evaluate(fresh, texts).nll


@pytest.mark.slow(4)
def test_it_says_what_finetune_then_does(reviews, tmp_path):
    """Its choices are finetune's, and so are the points of the curve, the checkpoints, and the most that lies on the disk."""
    lm = tiny()
    packed, validation = pack(reviews.train, lm, 64), reviews.validation
    found = estimate(lm, packed, output_dir=tmp_path / "run", validation=validation, checkpoint_steps=3, **PLAN)
    watched = Watched(tmp_path)
    tuned = finetune(lm, packed, output_dir=tmp_path / "run", validation=validation, checkpoint_steps=3, callbacks=[watched], **PLAN)
    for name in ("dtype", "compile", "threads", "loss", "device"):
        assert getattr(found.choices, name) == getattr(tuned.choices, name)
    assert found.steps == tuned.steps == 22
    assert found.kept_bytes == size(tmp_path / "run" / "model")
    assert watched.most == pytest.approx(found.disk_bytes, rel=0.01)  # the history of losses in a checkpoint grows a little
    assert sum("validation_perplexity" in row for row in tuned.curve) == 2
    assert all(seconds > 0 for name, seconds in found.parts.items() if name != "scoring")


class Watched(TrainerCallback):
    """The most bytes that lie in a folder right after a checkpoint is written, before the oldest goes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most = folder, 0

    def on_save(self, *arguments: Any, **keywords: Any) -> None:
        # Trainer has removed the oldest by now: what lay there while this one was written is one checkpoint more.
        found = sorted(path for path in self.folder.rglob("checkpoint-*") if path.is_dir())
        self.most = max(self.most, sum(map(size, found)) + (size(found[0]) if len(found) == 2 else 0))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (9, 0), (10, 1), (22, 2), (63, 6), (300, 5), (50, 5)])
def test_points_of_the_curve_are_counted_as_the_curve_counts_them(reviews, tmp_path, steps, points):
    from nbtools.training.callbacks import Curve, evaluated_steps

    seen: list[int] = []
    curve = Curve(tmp_path / "curve.jsonl", 1, lambda step: {"validation_perplexity": float(seen.append(1) or 1)})

    state = TrainerState(max_steps=steps, is_world_process_zero=True, log_history=[])
    for step in range(1, steps + 1):
        state.global_step, row = step, {"loss": 1.0, "step": step, "learning_rate": 0.0}
        state.log_history.append(row)
        curve.on_log(TrainingArguments(), state, TrainerControl(), logs=row)
    assert len(seen) == len(evaluated_steps(steps)) == points


def test_time_grows_with_the_plan_and_scoring_is_counted(reviews, tmp_path):
    lm = tiny()
    packed, texts = pack(reviews.train, lm, 64), reviews.test["text"]
    found = estimate(lm, packed, output_dir=tmp_path / "run", scoring=texts, **{**PLAN, "max_steps": 1000})
    assert found.parts["steps"] == pytest.approx(1000 * found.step_seconds)
    assert found.parts["validation"] == 0 and found.parts["scoring"] > 0
    assert found.seconds == pytest.approx(sum(found.parts.values())) == found.to_dict()["seconds"]
    assert found.memory_bytes >= least_memory(lm.model, 2, 64, found.choices) - memory.LIBRARIES
    first, second, third = repr(found).splitlines()
    assert "for 1000 steps" in first and "GB" in second and "in fp32, threads" in third


def test_too_little_memory_is_refused_before_anything_is_tried(reviews, tmp_path, monkeypatch):
    lm = tiny()
    packed = pack(reviews.train, lm, 64)
    monkeypatch.setattr(memory, "free_memory", lambda: -held_memory() + 10**8)
    monkeypatch.setattr(MODULE, "measure_choices", lambda *arguments, **keywords: pytest.fail("a probe began"))
    with pytest.raises(MachineError, match=r"needs 0\.3 GB of memory, and this process can have 0\.1 GB") as caught:
        estimate(lm, packed, output_dir=tmp_path / "run", **PLAN)
    assert "a batch_size below 2" in caught.value.remedy and "lora=True" in caught.value.remedy and "smaller profile" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_process_cannot_have_more_than_the_limit_that_it_is_under(monkeypatch):
    """Pages of a library that another container read first are in what it holds, and not in what its own limit counts."""
    monkeypatch.setenv("NBTOOLS_DEVICE", "cpu")
    monkeypatch.setattr(memory, "held_memory", lambda: 700)
    monkeypatch.setattr(memory, "total_memory", lambda: 2_000)
    for available, free in ((1_500, 1_300), (900, 900), (0, 0)):
        monkeypatch.setattr(memory, "available_memory", lambda: available)  # noqa: B023
        assert memory.free_memory() == free


def test_memory_that_only_the_probe_shows_is_refused_after_it(reviews, tmp_path, monkeypatch):
    lm = tiny()
    monkeypatch.setattr(MODULE, "free_memory", lambda: -held_memory() + 10**8)
    with pytest.raises(MachineError, match=r"this process can have 0\.1 GB"):
        estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", **PLAN)
    assert list(tmp_path.iterdir()) == []


def test_advice_is_what_can_still_be_done(monkeypatch):
    pytest.importorskip("peft")
    from nbtools.training.loop import add_lora

    monkeypatch.setattr(memory, "free_memory", lambda: -held_memory())
    with pytest.raises(MachineError) as caught:
        check_least_memory(add_lora(tiny()), 1, 64)
    assert not any(word in caught.value.remedy for word in ("batch_size", "block_size", "lora"))
    with pytest.raises(MachineError, match="needs") as caught:
        check_least_memory(tiny().model, 1, 512)
    assert "a block_size below 512" in caught.value.remedy


def test_a_full_disk_is_refused_with_advice(reviews, tmp_path, monkeypatch):
    lm = tiny()

    class Full:
        free = 10**6

    monkeypatch.setattr(MODULE.shutil, "disk_usage", lambda place: Full)
    with pytest.raises(MachineError, match="of disk") as caught:
        estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", **PLAN)
    assert "checkpoint_steps" in caught.value.remedy
    Full.free = 5 * 10**6  # the probe fits, the run does not
    with pytest.raises(MachineError, match="of disk"):
        estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", **PLAN)


def test_the_least_memory_grows_with_what_it_should():
    model = tiny().model
    copies, fp32 = TrainingChoices(dtype="bf16", bf16_copies=True, loss="fused"), TrainingChoices(dtype="fp32", loss="fused")
    bf16 = replace(copies, bf16_copies=False)
    least = least_memory(model, 2, 64)
    assert least == least_memory(model, 2, 64, copies)
    assert least < least_memory(model, 2, 64, bf16)
    assert least_memory(model, 2, 64, bf16) < least_memory(model, 2, 64, fp32) + 2**24
    assert least < least_memory(model, 4, 64) == least_memory(model, 2, 128)
    for weight in model.parameters():
        weight.requires_grad = False
    assert least_memory(model, 2, 64) == least - 10 * sum(weight.numel() for weight in model.parameters())


def test_the_peak_is_seen_between_two_looks():
    with PeakMemory() as peak:
        held = held_memory()
        block = torch.ones(2**27)  # half a GiB, written to
        del block
    assert peak.bytes >= held and peak.bytes > held + 2**28


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"max_steps": 0}, {"dtype": "int8"}, {"dropout": 1.0}])
def test_impossible_values_are_refused_as_finetune_refuses_them(reviews, tmp_path, bad):
    lm = tiny()
    with pytest.raises(InputError):
        estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", **{**PLAN, **bad})
    assert list(tmp_path.iterdir()) == []


def test_a_learning_rate_of_zero_changes_no_weight(reviews, tmp_path):
    """What the probe leans on, for both optimizers."""
    from nbtools.accel.adamw import MasterAdamW

    torch.manual_seed(0)
    for dtype in FORMATS.values():
        weight = torch.nn.Parameter(torch.randn(64))
        before = weight.detach().clone()
        master, masters = weight.data, {}
        if dtype == torch.bfloat16 and compiler_available():
            weight.data = master.to(dtype)
            masters = {weight: master}
            optimizer: torch.optim.Optimizer = MasterAdamW([weight], masters, lr=0.0)
        else:
            optimizer = torch.optim.AdamW([weight], lr=0.0, weight_decay=0.0, fused=True)
        for _ in range(PROBE_STEPS):
            weight.grad = torch.randn(64).to(weight.dtype)
            optimizer.step()
        assert master.equal(before) and weight.data.equal(before.to(weight.dtype))


def test_an_estimate_cannot_be_changed(reviews, tmp_path):
    found = Estimate({"steps": 60.0}, 10, 6.0, 1, 1, 1, 1, 1, TrainingChoices(), 1.0)
    with pytest.raises(AttributeError):
        found.steps = 3  # type: ignore[misc]
    assert found.seconds == 60 == found.to_dict()["seconds"]
    assert TrainingChoices.from_dict(found.to_dict()["choices"]) == found.choices


@pytest.mark.parametrize(
    ("probes", "reason"),
    [
        ([(1.0, 0.98), (1.1, 1.0), (3.0, 1.0)], ""),  # two of three agree
        ([(3.0, 2.9), (1.0, 0.98), (2.0, 1.9)], "the same work took 1 and 2 s"),
        ([(3.0, 1.0), (3.1, 1.0), (3.0, 1.0)], "the processor was busy with other programs for 67% of the time"),
        ([(0.01, 0.001), (0.05, 0.001)], ""),  # a toy, which no clock can judge
        ([], ""),
    ],
)
def test_a_disturbed_probe_is_detected(probes, reason):
    assert disturbance([Lap(*probe) for probe in probes], 2) == reason


@pytest.mark.parametrize(
    ("cores", "threads", "others", "disturbed"),
    [
        (2, 2, 1.0, True),  # this thread ran all the time, but waited for the other one
        (2, 2, 0.3, False),
        (8, 2, 5.0, False),  # on cores that the training does not use
        (8, 2, 7.0, True),
        (1, 1, 0.5, True),
    ],
)
def test_other_programs_disturb_where_they_take_cores_that_the_training_uses(monkeypatch, cores, threads, others, disturbed):
    monkeypatch.setattr(probe, "allowed_processors", lambda: cores)
    laps = [Lap(2.0, 2.0, [(2 * others - 0.1, "editor\x1b"), (0.1, "shell")]), Lap(2.1, 2.1), Lap(2.1, 2.1)]
    reason = f"the processor was busy with other programs ({others} of {cores} cores, most of it editor<U+001B>)"
    assert disturbance(laps, threads) == (reason if disturbed else "")
    monkeypatch.setenv("NBTOOLS_DEVICE", "meta")
    assert disturbance(laps, threads) == ""


@pytest.mark.parametrize(
    ("steps", "probes", "step_seconds", "known"),
    [
        ([9.0, 1.0, 1.0, 1.1, 1.1, 1.0, 1.0], 3, 1.0, True),  # the first step warms up
        ([9.0, 4.0, 3.0, 1.0, 1.1, 1.0, 1.0], 3, 1.0, True),  # so does the second, on a slow machine
        ([9.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2], 5, 0.2, True),  # still faster: after a busy cell
        ([9.0, 4.0, 4.1, 4.0, 4.0, 1.0, 1.0], 3, 1.0, False),  # the time for probes is over, and no two agree
        ([0.1, *[0.2 + 0.1 * (9 - step // 2) for step in range(20)]], MOST_PROBES, 0.2, False),
    ],
)
def test_an_estimate_of_24_minutes_for_7_7_was_shown_as_known(reviews, tmp_path, monkeypatch, steps, probes, step_seconds, known):
    """It came right after a busy cell."""
    laps = iter([steps[0], *[sum(steps[at : at + 2]) for at in range(1, len(steps), 2)], *[0.0, 0.2] * 3, 0.0, 0.5])
    monkeypatch.setattr(Probe, "_lap", lambda self: Lap(lap := next(laps), lap))
    made: list[Probe] = []
    monkeypatch.setattr(MODULE, "Probe", lambda *arguments: made.append(Probe(*arguments)) or made[0])
    lm = tiny()
    found = estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", validation=reviews.validation, **PLAN)
    assert next(laps, None) is None and len(made[0].probes) == probes
    assert found.step_seconds == pytest.approx(step_seconds) and (found.disturbance == "") == known
    assert found.parts["steps"] == pytest.approx(step_seconds * 22) and found.parts["checkpoints"] == pytest.approx(0.5 * (21 // 4))
    assert ("time not known" in repr(found)) == (not known) and found.to_dict()["disturbance"] == found.disturbance


def test_other_programs_are_named_together_with_the_number(reviews, tmp_path, monkeypatch):
    class Busy:
        def lap(self):
            return [(1000.0, "renderer")]

    monkeypatch.setattr(probe, "OtherPrograms", Busy)
    monkeypatch.setattr(probe, "LEAST_SECONDS", 0.0)
    lm = tiny()
    found = estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", **PLAN)
    first = repr(found).splitlines()[0]
    assert "busy with other programs" in first and "most of it renderer" in first and " s for 22 steps" in first


def test_the_threads_of_a_library_come_to_rest_before_the_probe(monkeypatch):
    """After a busy cell they spin for a while: processor time passes while this thread sleeps."""
    looks: list[float] = []

    def used() -> float:
        looks.append(0.0)
        return time.perf_counter() * 2 if len(looks) < 7 else 1.0  # two spinning threads during the first three looks

    assert wait_for_rest(used=used) and len(looks) == 8
    assert not wait_for_rest(0.2, used=lambda: 2 * time.perf_counter())


def test_seconds_per_token_come_from_a_full_batch(reviews, tmp_path, monkeypatch):
    """Several texts are scored in one pass, so the time of one short text says nothing about many."""
    scored: list[int] = []
    lm = tiny()
    monkeypatch.setattr(probe, "evaluate", lambda lm, texts, label: scored.append(computed_tokens(lm, texts)))
    texts = reviews.test["text"]
    assert len(texts) < 32 and computed_tokens(lm, texts) > BATCH_TOKENS
    estimate(lm, pack(reviews.train, lm, 64), output_dir=tmp_path / "run", scoring=[*texts] * 3, **PLAN)
    assert len(scored) >= 4 and BATCH_TOKENS <= scored[0] < 2 * BATCH_TOKENS, "a pass to warm up, and three that are timed"
    few = texts[:1]
    assert MODULE._probe_texts(lm, few) == few and MODULE._probe_texts(lm, []) == []


HOG = "import os\nos.sched_setaffinity(0, {0})\nprint('at work', flush=True)\nwhile True:\n    pass"


@pytest.mark.slow(15)
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to a processor here")
def test_other_programs_on_the_processor_are_noticed(reviews, tmp_path):
    """This includes constant disturbances, with which all probes agree."""
    processor = min(os.sched_getaffinity(0))
    lm, before = load_model("mini", verbose=False), os.sched_getaffinity(0)
    hogs = [subprocess.Popen([sys.executable, "-c", HOG.replace("{0}", f"{{{processor}}}")], stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for hog in hogs:
            assert hog.stdout.readline()
        os.sched_setaffinity(0, {processor})
        found = estimate(lm, pack(reviews.train, lm, 256), output_dir=tmp_path / "run", threads=1, **PLAN)
    finally:
        os.sched_setaffinity(0, before)
        for hog in hogs:
            hog.kill()
            hog.communicate()
    assert "busy with other programs" in found.disturbance and repr(found).startswith("time not known, because the probe was disturbed")
