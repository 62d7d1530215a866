"""A fine-tuning that is killed, damaged or diverges: what is lost, what is kept, and that a resume changes no digit of the result.

`python -m tests.training.test_survival FOLDER PATH [MOMENT STEP]` (PATH: plain or compiled) is the run that the tests kill: it
prints every step's loss, and kills itself with SIGKILL at the moment named, so that no test depends on how fast a machine is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import trainer_callback, trainer_utils

import nbtools.training.callbacks
from nbtools.data import Packed
from nbtools.errors import InputError, RunError
from nbtools.training import checkpoints, finetune
from nbtools.training.callbacks import StopOnNonFinite
from nbtools.values import CHECKS, Number
from tests.small_models import needs_a_compiler, tiny

STEPS, CHECKPOINT_STEPS = 60, 7  # no checkpoint falls on a row of the curve, nor on the end of an epoch of 16 steps
EVENTS = trainer_callback.CallbackHandler
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows, os.kill with SIGTERM ends a process on the spot


def blocks() -> Packed:
    """31 blocks of 32 tokens, two documents in each: 16 steps of two blocks are an epoch, and the last has one block."""
    ids = np.random.default_rng(0).integers(1, 400, (31, 32)).astype(np.int32)
    ids[:, [0, 16]] = 0
    halves = np.tile(np.arange(16, dtype=np.int32), (31, 2))
    return Packed(ids, halves, np.cumsum(ids == 0).reshape(ids.shape).astype(np.int32), {})


def dropping(kind: str = "gpt2") -> Any:
    lm = tiny(kind)
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    return lm


def run(folder: Path, lm: Any = None, **keywords: Any) -> Any:
    defaults = {"batch_size": 2, "max_steps": STEPS, "checkpoint_steps": CHECKPOINT_STEPS, "learning_rate": 3e-3, "dropout": None}
    defaults |= {"dtype": "fp32", "compile": False}
    return finetune(lm or dropping(), blocks(), output_dir=folder, **{**defaults, **keywords})


def at(owner: Any, name: str, when: Callable[..., bool], what: Callable[..., None], after: bool = False) -> None:
    """Have `what` happen before, or after, the call of `owner.name` for which `when` is true."""
    real = getattr(owner, name)

    def call(*values: Any, **keywords: Any) -> Any:
        if not after and when(*values):
            what(*values)
        result = real(*values, **keywords)
        if after and when(*values):
            what(*values)
        return result

    setattr(owner, name, call)


def die(*_: Any) -> None:
    os.kill(os.getpid(), KILL)


def half_a_file(_: Any, path: str) -> None:
    Path(path).write_bytes(b"half")
    die()


def half_a_folder(path: Any) -> None:
    sorted(Path(path).iterdir())[0].unlink()
    die()


def prepare(moment: str, step: int) -> None:
    """Have this process killed, or interrupted, at `moment` of `step`."""

    def is_step(_: Any, args: Any, state: Any, *__: Any) -> bool:
        return state.global_step == step

    def is_checkpoint(path: Any, *_: Any) -> bool:
        return Path(path).name == f"checkpoint-{step}"

    def is_optimizer(_: Any, path: Any) -> bool:
        return Path(path).name == "optimizer.pt" and is_checkpoint(Path(path).parent)

    {
        "within": lambda: at(EVENTS, "on_pre_optimizer_step", is_step, die),
        "logged": lambda: at(EVENTS, "on_log", is_step, die, after=True),
        "writing": lambda: at(torch, "save", is_optimizer, half_a_file),
        "unmarked": lambda: at(nbtools.training.callbacks, "mark_complete", is_checkpoint, die),
        "marked": lambda: at(nbtools.training.callbacks, "mark_complete", is_checkpoint, die, after=True),
        "removing": lambda: at(trainer_utils.shutil, "rmtree", is_checkpoint, half_a_folder),
        "saving": lambda: at(sys.modules["nbtools.training.finetune"], "save_model", lambda *_: True, die),
        "finishing": lambda: at(checkpoints.shutil, "rmtree", lambda path, *_: Path(path).name == "checkpoints", die),
        "interrupt": lambda: at(EVENTS, "on_pre_optimizer_step", is_step, lambda *_: signal.raise_signal(signal.SIGINT)),
    }[moment]()


def main(folder: Path, path: str, moment: str = "", step: str = "0") -> None:
    def say(_: Any, args: Any, state: Any, control: Any, logs: Any) -> None:
        if "loss" in logs:
            print(f"step {state.global_step} {logs['loss']!r} {logs['grad_norm']!r} {logs['learning_rate']!r}", flush=True)

    at(EVENTS, "on_log", lambda *_: True, say)
    if moment:
        prepare(moment, int(step))
    ways = {"plain": {}, "compiled": {"dtype": "bf16", "compile": True}}
    run(folder, resume=checkpoints.unfinished(folder).is_dir(), **ways[path])


def start(folder: Path, moment: str = "", step: int = 0, path: str = "plain") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.training.test_survival", str(folder), path, moment, str(step)]
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, env={**os.environ, "NBTOOLS_PROGRESS": "0"}
    )


def steps_in(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("step ")]


def curve(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights(folder: Path) -> str:
    """A hash of the model's file: pytest takes minutes to explain how two files of weights differ."""
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing happens to: its folder, and what it printed for every step."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    done = start(folder)
    assert done.returncode == 0, done.stderr
    steps = steps_in(done.stdout)
    assert len(steps) == STEPS and len(set(steps)) == STEPS
    return folder, steps


straight_once = pytest.mark.xdist_group("straight")  # the tests that use its run share a process

DEATHS = {  # moment and step at which the run is killed -> the checkpoint from which the next one resumes, 0 for none
    ("within", 5): 0,
    ("writing", 14): 7,
    ("marked", 21): 21,
    ("unmarked", 28): 21,
    ("removing", 21): 28,
    ("logged", 40): 35,
    ("saving", 60): 56,
}


@straight_once
@pytest.mark.slow(50)
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(straight, tmp_path):
    """Every loss that any of the processes computed, and the weights at the end, equal to the last bit."""
    folder, expected = straight
    came_from = 0
    for (moment, step), left in DEATHS.items():
        died = start(tmp_path / "run", moment, step)
        assert died.returncode == -KILL, f"{moment} {step}: {died.stderr}"
        assert not (tmp_path / "run").exists()
        seen = steps_in(died.stdout)
        assert f"Resuming from step {came_from} of" in died.stdout or not came_from
        assert seen == expected[came_from : came_from + len(seen)], f"{moment} {step}"
        came_from = left
    last = start(tmp_path / "run")
    assert last.returncode == 0, last.stderr
    assert steps_in(last.stdout) == expected[came_from:]
    assert curve(tmp_path / "run") == curve(folder)
    assert weights(tmp_path / "run") == weights(folder)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".nbtools.json", "curve.jsonl", "model", "plan.json"]


@pytest.mark.long(90)
@needs_a_compiler
def test_a_compiled_run_that_is_killed_and_resumed_gives_the_same_bits(tmp_path):
    """In bf16, so the working copies are made again from the fp32 weights of the checkpoint."""
    straight = start(tmp_path / "straight", path="compiled")
    died = start(tmp_path / "run", "within", 25, path="compiled")
    resumed = start(tmp_path / "run", path="compiled")
    assert (straight.returncode, died.returncode, resumed.returncode) == (0, -KILL, 0), straight.stderr + died.stderr + resumed.stderr
    assert steps_in(resumed.stdout) == steps_in(straight.stdout)[21:]
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


@straight_once
@pytest.mark.slow(7)
def test_a_kill_while_the_run_is_tidied_up_leaves_it_finished(straight, tmp_path):
    died = start(tmp_path / "run", "finishing")
    assert died.returncode == -KILL and not checkpoints.unfinished(tmp_path / "run").exists()
    assert weights(tmp_path / "run") == weights(straight[0])


@straight_once
@pytest.mark.slow(15)
def test_ctrl_c_leaves_a_checkpoint_of_that_very_step_and_says_how_to_go_on(straight, tmp_path):
    stopped = start(tmp_path / "run", "interrupt", 25)  # raised within step 26
    assert stopped.returncode == 1 and "Stopped at step 26 of 60" in stopped.stderr and "resume=True" in stopped.stderr
    assert not (tmp_path / "run").exists()
    resumed = start(tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    assert steps_in(stopped.stdout) + steps_in(resumed.stdout) == straight[1]
    assert curve(tmp_path / "run") == curve(straight[0]) and weights(tmp_path / "run") == weights(straight[0])


@contextmanager
def happening(owner: Any, name: str, when: Callable[..., bool], what: Callable[..., None]) -> Iterator[None]:
    """`at`, for as long as the block lasts."""
    real = getattr(owner, name)
    at(owner, name, when, what)
    try:
        yield
    finally:
        setattr(owner, name, real)


def interrupted(folder: Path, step: int, lm: Any = None, **keywords: Any) -> Path:
    """Train until `step`, where Ctrl-C comes, and return the folder of the unfinished run."""

    def is_step(_: Any, args: Any, state: Any, control: Any) -> bool:
        return state.global_step == step - 1

    ctrl_c = happening(EVENTS, "on_pre_optimizer_step", is_step, lambda *_: signal.raise_signal(signal.SIGINT))
    with ctrl_c, pytest.raises(RunError, match=f"Stopped at step {step}"):
        run(folder, lm, **keywords)
    return checkpoints.unfinished(folder)


FORMATS = {"bf16": {"dtype": "bf16"}, "lora": {"lora": True}, "llama": {"kind": "llama"}}
COMPILED = {"compiled-bf16": {"compile": True, "dtype": "bf16"}, "compiled-llama": {"compile": True, "kind": "llama"}}
CASES = [pytest.param(case, again, id=f"{name}-{again}") for name, case in FORMATS.items() for again in (False, True)]
CASES += [
    pytest.param(case, again, id=f"{name}-{again}", marks=[needs_a_compiler, pytest.mark.slow(50) if short else pytest.mark.long(60)])
    for name, case in COMPILED.items()
    for again in (False, True)
    for short in [again and name == "compiled-llama"]  # one of four in every `make test`
]


@pytest.mark.slow(10)
@pytest.mark.parametrize(("case", "again"), CASES)
def test_a_resumed_run_has_the_same_bits_in_other_formats_and_with_the_model_that_was_interrupted(tmp_path, case, again):
    """A notebook whose training cell was interrupted is run again with the model that it holds, changed as that is."""
    if "lora" in case:
        pytest.importorskip("peft")
    keywords = {"max_steps": 30, **{name: value for name, value in case.items() if name != "kind"}}
    models = [dropping(case.get("kind", "gpt2")) for _ in range(3)]
    run(tmp_path / "straight", models[0], **keywords)
    interrupted(tmp_path / "run", 18, models[1], **keywords)
    run(tmp_path / "run", models[1] if again else models[2], resume=True, **keywords)
    assert curve(tmp_path / "run") == curve(tmp_path / "straight")
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


def test_dropout_is_at_work_in_these_runs_or_they_would_prove_less(tmp_path):
    dropped, plain = run(tmp_path / "a", max_steps=1), run(tmp_path / "b", tiny(), max_steps=1)
    assert dropped.curve[0]["loss"] != plain.curve[0]["loss"]


@pytest.mark.slow(17)
def test_a_run_without_a_checkpoint_does_not_restart_from_a_changed_model(tmp_path, capsys):
    lm = dropping()
    shutil.rmtree(interrupted(tmp_path / "run", 5, lm) / "checkpoints")
    with pytest.raises(InputError, match="already changed"):
        run(tmp_path / "run", lm, resume=True)
    assert "has no complete checkpoint, so it starts again at step 0" in capsys.readouterr().out
    assert len(run(tmp_path / "run", resume=True).curve) == 7


@pytest.mark.slow(5)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, capsys):
    run(tmp_path / "straight")
    folder = interrupted(tmp_path / "run", 17)
    optimizer = folder / "checkpoints" / "checkpoint-17" / "optimizer.pt"
    whole = optimizer.stat().st_size
    os.truncate(optimizer, whole - 1000)
    with (folder / "curve.jsonl").open("a") as file:
        file.write('{"step": 20, "lo')  # the kill came while a row was written
    run(tmp_path / "run", resume=True)
    output = capsys.readouterr().out
    assert (
        f"checkpoint-17 is damaged (optimizer.pt has {whole - 1000:,} bytes, not {whole:,}; kept as damaged-checkpoint-17); "
        "checkpoint-14 is used instead.\n"
    ) in output
    assert "Resuming from step 14" in output
    assert curve(tmp_path / "run") == curve(tmp_path / "straight") and weights(tmp_path / "run") == weights(tmp_path / "straight")


@pytest.mark.slow(11)
def test_trainer_does_not_count_a_damaged_checkpoint_among_the_two_that_it_keeps(tmp_path):
    folder = interrupted(tmp_path / "run", 17) / "checkpoints"
    (folder / "checkpoint-17" / "model.safetensors").write_bytes(b"bits")
    interrupted(tmp_path / "run", 30, resume=True)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-28", "checkpoint-30", "damaged-checkpoint-17"]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a bit flipped": (lambda folder: flip_a_bit(folder / "model.bin"), r"damaged \(model.bin is not what was saved"),
    "truncated": (lambda folder: os.truncate(folder / "model.bin", 10), r"damaged \(model.bin has 10 bytes, not 1,000"),
    "a file missing": (lambda folder: (folder / "state.json").unlink(), r"damaged \(state.json is missing"),
    "the list damaged": (lambda folder: os.truncate(folder / checkpoints.COMPLETE, 30), r"damaged \(its list of files"),
    "the list of another kind": (
        lambda folder: (folder / checkpoints.COMPLETE).write_text('{"files": []}'),
        r"damaged \(its list of files",
    ),
    "no list": (lambda folder: (folder / checkpoints.COMPLETE).unlink(), "cut off while it was written"),
}


@pytest.fixture
def saved(tmp_path):
    for step in (5, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.bin").write_bytes(os.urandom(1000))
        (folder / "state.json").write_text("{}")
        checkpoints.mark_complete(folder)
    (tmp_path / "checkpoint-notes").mkdir()  # made by the user
    return tmp_path


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_kind_of_damage_is_noticed(saved, capsys, kind):
    damage, words = DAMAGE[kind]
    assert checkpoints.newest_checkpoint(saved).name == "checkpoint-100"
    assert capsys.readouterr().out == ""
    damage(saved / "checkpoint-100")
    assert checkpoints.newest_checkpoint(saved).name == "checkpoint-10"
    output = capsys.readouterr().out
    assert re.match(f"checkpoint-100 (is|was) {words}", output)
    assert output.endswith("; checkpoint-10 is used instead.\n") and output.count("\n") == 1
    assert (saved / "damaged-checkpoint-100").exists() == (kind != "no list") and (saved / "checkpoint-notes").exists()


def test_incomplete_checkpoints_are_not_used(saved, capsys):
    for step in (5, 10, 100):
        (saved / f"checkpoint-{step}" / "model.bin").unlink()
    assert checkpoints.newest_checkpoint(saved) is None
    assert capsys.readouterr().out.count("no earlier one is complete") == 3


def poisoned(step: int, change: Callable[[Any], None]) -> AbstractContextManager[None]:
    """For as long as the block lasts: the model's weights are changed at the end of `step`, as by an update gone wrong."""

    def what(handler: Any, *_: Any) -> None:
        with torch.no_grad():
            change(handler.model)

    return happening(EVENTS, "on_step_end", lambda _, args, state, *__: state.global_step == step, what)


def spoil(model: Any) -> None:
    model.lm_head.weight.fill_(torch.nan)


@pytest.mark.slow(6)
def test_no_weights_that_are_not_numbers_are_ever_saved(tmp_path):
    """The update of a step that is to be saved spoils the weights, though its loss and its gradient were well."""
    with poisoned(21, spoil), pytest.raises(RunError, match="norm of the weights was nan, which is not finite, at step 21 of 60") as error:
        run(tmp_path / "run")
    assert "checkpoint-14" in error.value.remedy and "lower than 0.003" in error.value.remedy
    folder = checkpoints.unfinished(tmp_path / "run")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["checkpoint-14", "checkpoint-7"]
    assert [row["step"] for row in curve(folder)] == [1, 10, 20]


def test_the_run_stops_at_the_very_step_whose_loss_is_no_number(tmp_path):
    with poisoned(23, spoil), pytest.raises(RunError, match="loss was nan, which is not finite, at step 24 of 60") as error:
        run(tmp_path / "run")
    assert "checkpoint-21" in error.value.remedy


@pytest.mark.slow(7)
def test_a_checkpoint_whose_weights_give_no_loss_is_not_the_last_good_one(tmp_path):
    """The weights of step 21 are finite and are saved, but the next step's attention scores overflow."""

    def overflow(model: Any) -> None:
        model.transformer.h[0].ln_1.weight.fill_(1e17)
        model.transformer.h[0].attn.c_attn.weight.mul_(1e5)

    with poisoned(21, overflow), pytest.raises(RunError, match="loss was nan, which is not finite, at step 22 of 60") as error:
        run(tmp_path / "run")
    assert "checkpoint-14" in error.value.remedy
    left = sorted(path.name for path in (checkpoints.unfinished(tmp_path / "run") / "checkpoints").iterdir())
    assert left == ["checkpoint-14", "damaged-checkpoint-21"]


def test_a_last_step_that_spoils_the_weights_leaves_no_model(tmp_path):
    with poisoned(20, spoil), pytest.raises(RunError, match="at step 20 of 20"):
        run(tmp_path / "run", max_steps=20)
    assert not (tmp_path / "run").exists() and not (checkpoints.unfinished(tmp_path / "run") / "model").exists()


@pytest.mark.slow(7)
def test_a_run_that_diverged_is_not_resumed_into_the_same_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(CHECKS, "learning_rate", Number(0, 1e31, above=True))  # a rate that is refused otherwise
    with pytest.raises(RunError, match=r"not finite, at step \d+ of 60") as error:
        run(tmp_path / "run", learning_rate=1e30)
    assert "lower than 1e+30" in error.value.remedy
    with pytest.raises(InputError, match="not finite, at step") as error:
        run(tmp_path / "run", learning_rate=1e30, resume=True)
    assert "lower learning_rate" in error.value.remedy and checkpoints.BROKEN in error.value.remedy
    run(tmp_path / "run", max_steps=10)
    assert "kept as run-1.unfinished" in capsys.readouterr().out


@pytest.mark.slow(6)
def test_the_advice_for_a_run_that_was_renamed_could_not_be_followed(tmp_path, capsys):
    """The advice was resume=True, although by then the run of that name was the new one."""
    run(tmp_path / "straight")
    (tmp_path / "run-1").mkdir()  # somebody else's
    interrupted(tmp_path / "run", 17)
    run(tmp_path / "run", max_steps=10)
    output = capsys.readouterr().out
    assert "kept as run-2.unfinished" in output and f"resume=True, output_dir={str(tmp_path / 'run-2')!r}" in output
    run(tmp_path / "run-2", resume=True)
    assert weights(tmp_path / "run-2") == weights(tmp_path / "straight") and not list((tmp_path / "run-1").iterdir())


@pytest.mark.slow(16)
@pytest.mark.parametrize("case", ["same", "another plan", "none", "asked for, none", "asked for, another plan"])
def test_where_run_says_so_an_interrupted_training_is_continued(tmp_path, capsys, monkeypatch, case):
    monkeypatch.setenv("NBTOOLS_RESUME", "1")
    if not case.endswith("none"):
        with_advice = interrupted(tmp_path / "run", 17)
        assert with_advice.is_dir()
    keywords = {"resume": case.startswith("asked"), "learning_rate": 1e-3 if case.endswith("another plan") else 3e-3}
    if case == "asked for, another plan":
        with pytest.raises(InputError, match="started with other values"):
            run(tmp_path / "run", **keywords)
        return
    run(tmp_path / "run", **keywords)
    output = capsys.readouterr().out
    assert ("Resuming from step 17" in output) == (case == "same")
    assert (tmp_path / "run-1.unfinished").is_dir() == (case == "another plan")


@pytest.mark.slow(5)
def test_a_broken_run_resumes_from_its_last_good_checkpoint_once_the_cause_is_fixed(tmp_path):
    run(tmp_path / "straight")
    with poisoned(23, spoil), pytest.raises(RunError):
        run(tmp_path / "run")
    (checkpoints.unfinished(tmp_path / "run") / checkpoints.BROKEN).unlink()
    run(tmp_path / "run", resume=True)
    assert curve(tmp_path / "run") == curve(tmp_path / "straight") and weights(tmp_path / "run") == weights(tmp_path / "straight")


@pytest.mark.parametrize(("fp16", "logs", "stops"), [
    (True, {"loss": 3.0, "grad_norm": float("inf")}, False),
    (False, {"loss": 3.0, "grad_norm": float("inf")}, True),
    (True, {"loss": float("nan"), "grad_norm": 1.0}, True),
    (False, {"loss": 3.0, "grad_norm": 1.0}, False),
    (False, {"train_runtime": 1.0}, False),
])  # fmt: skip
def test_an_infinite_gradient_is_allowed_in_fp16_alone(tmp_path, fp16, logs, stops):
    args = SimpleNamespace(fp16=fp16, learning_rate=1e-3)
    state = SimpleNamespace(global_step=3, max_steps=9, is_world_process_zero=True)
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    finite = StopOnNonFinite(tmp_path)
    finite.on_log(args, state, control, logs=logs)
    assert control.should_training_stop == stops == (finite.error is not None)


def test_a_resume_with_other_values_is_refused_and_names_them(tmp_path):
    interrupted(tmp_path / "run", 5)
    with pytest.raises(InputError, match=r"learning_rate was 0\.003, is 0\.1"):
        run(tmp_path / "run", learning_rate=0.1, resume=True)
    with pytest.raises(InputError, match="no interrupted run"):
        run(tmp_path / "elsewhere", resume=True)


@pytest.mark.slow(17)
@straight_once
def test_rows_of_the_curve_are_means_of_the_steps_since_the_row_before(straight):
    losses = [float(line.split()[2]) for line in straight[1]]
    rows = {row["step"]: row["loss"] for row in curve(straight[0])}
    assert list(rows) == [1, 10, 20, 30, 40, 50, 60] and rows[1] == losses[0]
    assert rows[10] == pytest.approx(np.mean(losses[1:10]), rel=1e-12)
    assert rows[60] == pytest.approx(np.mean(losses[50:60]), rel=1e-12)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
