"""The configuration of a fine-tuning: values that are refused before anything starts, adapters' rate, gradient accumulation."""

from __future__ import annotations

import importlib
import math
import sys
import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from nbtools.data import Packed
from nbtools.errors import InputError, RunError
from nbtools.profiles import PROFILES
from nbtools.system import seed_everything
from nbtools.training import FinetuneConfig, TrainingChoices, estimate, finetune
from nbtools.training.__main__ import config_options, run
from nbtools.training.choices import measure_choices, reuse_choices
from nbtools.training.config import ResolvedConfig
from tests.small_models import tiny

main_module = importlib.import_module("nbtools.training.__main__")

BAD: dict[str, list[Any]] = {
    "learning_rate": [math.nan, math.inf, "1e-3", 0, -1e-4, True, 1e6], "max_steps": [2.0, "3", True, 0, -1, math.inf, 10**12],
    "batch_size": [2.0, "2", 0, np.float64(2), 10**9], "gradient_accumulation_steps": [0, -1, 2.0, "2", None, True, 10**9],
    "epochs": [math.inf, math.nan, "1", 0, True, 10**400], "seed": [-1, 2**32, 2**70, "a", 1.0, None], "dropout": [1, -0.1, "0", math.nan],
    "checkpoint_steps": [0, -5, 2.0, "a", True], "threads": [10**6, 0, 1.5, "2", True], "dtype": ["int8", 32, ["fp32"]],
    "compile": ["yes", 1], "lora": ["true", 1, None], "learning_rte": [1e-3], "steps": [3],
}  # fmt: skip
ALONE: dict[str, list[Any]] = {
    "callbacks": ["a", [None], TrainerCallback(), 3], "choices": ["fast", [], 3], "resume": ["yes", 1, None],
    "report_to": [3, None, ["none"]],
}  # fmt: skip


def blocks(count: int = 8, length: int = 16, kind: type[Packed] = Packed) -> Packed:
    """Blocks of random tokens, one document in each."""
    ids = np.random.default_rng(0).integers(1, 400, (count, length)).astype(np.int32)
    return kind(ids, np.tile(np.arange(length, dtype=np.int32), (count, 1)), np.zeros((count, length), np.int32), {})


class Unequal(Packed):
    """Of block i only the first i + 2 labels count."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        item["labels"][index + 3 :] = -100
        return item


@pytest.mark.parametrize("name", [*BAD, *ALONE])
def test_a_wrong_value_of_a_fine_tuning_is_refused_in_two_lines_and_leaves_everything_as_it_was(name: str, tmp_path: Path) -> None:
    lm, threads = tiny(), torch.get_num_threads()
    before = {key: weight.clone() for key, weight in lm.model.state_dict().items()}
    for call in (finetune, estimate) if name in BAD else (finetune,):
        for value in {**BAD, **ALONE}[name]:
            with pytest.raises(InputError) as refused:
                call(lm, blocks(), output_dir=tmp_path / "run", **{"max_steps": 1, "dtype": "fp32", name: value})
            assert "\n" not in refused.value.problem + refused.value.remedy
    assert not lm.trained and torch.get_num_threads() == threads and not (tmp_path / "run").exists()
    assert all(weight.equal(before[key]) for key, weight in lm.model.state_dict().items())


@pytest.mark.parametrize("call", [finetune, estimate])
def test_a_name_or_texts_in_the_place_of_a_model_or_of_blocks_are_refused(call: Any) -> None:
    with pytest.raises(InputError, match="not a loaded model"):
        call("mini", blocks())
    with pytest.raises(InputError, match="not packed blocks"):
        call(tiny(), ["a text"])
    with pytest.raises(InputError) as refused:
        call(tiny(), blocks(), output_dirr="x")
    assert "Did you mean 'output_dir'?" in refused.value.remedy


def test_numpys_numbers_are_a_fine_tunings_numbers_too(tmp_path: Path) -> None:
    config = FinetuneConfig(learning_rate=np.float32(0.5), max_steps=np.int64(3), seed=np.uint8(1), lora=np.bool_(False))  # type: ignore[arg-type]
    plan = config.resolve(tiny(), blocks()).to_plan(tiny(), blocks())
    assert (plan["learning_rate"], plan["max_steps"], plan["seed"], plan["lora"]) == (0.5, 3, 1, False)
    assert {type(plan[name]) for name in ("learning_rate", "max_steps", "seed", "lora")} == {float, int, bool}


def test_the_command_line_refuses_a_value_before_it_reads_anything(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "--learning_rate", "inf", "--dataset", "no-such-source"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 1 and "learning_rate is inf." in capsys.readouterr().err


def test_adapters_have_a_rate_of_their_own() -> None:
    """Ten times the rate of all weights made the small model worse than it was before."""
    for profile in PROFILES.values():
        lm = tiny()
        lm.profile = profile
        assert FinetuneConfig(lora=True).resolve(lm, blocks()).learning_rate == profile.lora_learning_rate
        assert FinetuneConfig().resolve(lm, blocks()).learning_rate == profile.learning_rate
    assert FinetuneConfig(lora=True, learning_rate=0.5).resolve(tiny(), blocks()).learning_rate == 0.5


class KeepGradients(TrainerCallback):
    """The gradients of each parameter right before the first optimizer step, by name."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **keywords: Any) -> None:
        self.found = {name: weight.grad.clone() for name, weight in model.named_parameters()}


def plain_gradients(lm: Any, packed: Packed) -> dict[str, torch.Tensor]:
    """Of the mean loss over all labelled tokens of one big batch, by PyTorch alone, with the norm clipped to 1 as Trainer does."""
    rows = [packed[index] for index in range(len(packed))]
    lm.model.train()
    lm.model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, use_cache=False).loss.backward()
    torch.nn.utils.clip_grad_norm_(lm.model.parameters(), 1.0)
    return {name: weight.grad for name, weight in lm.model.named_parameters()}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("path", ["fused", "library"])
@pytest.mark.parametrize("packing", [Packed, Unequal])
def test_accumulated_gradients_are_those_of_one_big_batch(kind: str, path: str, packing: type[Packed], tmp_path: Path) -> None:
    """Four passes of two blocks against plain PyTorch on all eight: the mean over tokens, also where passes hold different numbers of
    them."""
    packed = blocks(kind=packing)
    expected, keep, lm = plain_gradients(tiny(kind), packed), KeepGradients(), tiny(kind)
    own = lm.model.config.model_type
    if path == "library":
        lm.model.config.model_type = "opt"  # a family that the fast path does not know
    tuned = finetune(
        lm, packed, output_dir=tmp_path / "run", batch_size=2, gradient_accumulation_steps=4, max_steps=1, dtype="fp32", callbacks=[keep],
    )  # fmt: skip
    lm.model.config.model_type = own
    assert tuned.choices.loss == path and keep.found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(keep.found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert tuned.steps == 1 and tuned.tokens_seen == 8 * 16 and tuned.parameters["gradient_accumulation_steps"] == 4


def test_a_mean_of_means_differs_from_the_mean_over_tokens() -> None:
    """The test above can fail: with unequal numbers of labels the two differ by far more than its tolerance."""
    packed = blocks(kind=Unequal)
    parts = []
    for begin in range(0, 8, 2):
        part = Unequal(packed.input_ids, packed.position_ids, packed.document_ids, {})
        rows, lm = [part[begin], part[begin + 1]], tiny()
        lm.model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, use_cache=False).loss.backward()
        parts.append(lm.model.transformer.wpe.weight.grad)
    tokens = tiny()
    rows = [packed[index] for index in range(8)]
    tokens.model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, use_cache=False).loss.backward()
    assert (torch.stack(parts).mean(0) - tokens.model.transformer.wpe.weight.grad).abs().max() > 1e-3


@pytest.mark.slow(6)
def test_accumulating_gives_the_weights_of_a_bigger_batch(tmp_path: Path) -> None:
    packed = blocks()
    settings: dict[str, Any] = {"max_steps": 6, "learning_rate": 1e-3, "dtype": "fp32", "compile": False}
    one = finetune(tiny(), packed, output_dir=tmp_path / "one", batch_size=8, **settings)
    four = finetune(tiny(), packed, output_dir=tmp_path / "four", batch_size=2, gradient_accumulation_steps=4, **settings)
    assert four.steps == one.steps == 6 and four.tokens_seen == one.tokens_seen
    assert [row["loss"] for row in four.curve] == pytest.approx([row["loss"] for row in one.curve], rel=1e-4)
    assert FinetuneConfig(epochs=3, batch_size=2, gradient_accumulation_steps=4).resolve(tiny(), packed).max_steps == 3


class StopAt(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        control.should_save = control.should_training_stop = state.global_step == 5


@pytest.mark.slow(6)
def test_a_resumed_run_that_accumulates_keeps_every_bit(tmp_path: Path) -> None:
    """Stopped in the second epoch, where an epoch of seven batches ends with a step of one pass."""
    packed = blocks(14)
    settings: dict[str, Any] = {"batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 9, "dropout": 0.1}
    settings |= {"dtype": "fp32", "compile": False, "learning_rate": 3e-3}
    straight = finetune(tiny(), packed, output_dir=tmp_path / "straight", **settings)
    with pytest.raises(RunError, match="step 5 of 9"):
        finetune(tiny(), packed, output_dir=tmp_path / "run", callbacks=[StopAt()], **settings)
    with pytest.raises(InputError, match="gradient_accumulation_steps was 2, is 1"):
        finetune(tiny(), packed, output_dir=tmp_path / "run", resume=True, **{**settings, "gradient_accumulation_steps": 1})
    resumed = finetune(tiny(), packed, output_dir=tmp_path / "run", resume=True, **settings)
    assert all(mine.equal(own) for mine, own in zip(resumed.lm.model.parameters(), straight.lm.model.parameters(), strict=True))


def test_gradients_that_are_summed_are_not_kept_in_bf16() -> None:
    """In 8 bits, a sum of many passes would lose the later ones."""
    seed_everything(0)
    lm, packed = tiny(), blocks()
    batch = {name: part[None] for name, part in packed[0].items()}
    config = ResolvedConfig(learning_rate=1e-3, batch_size=1, max_steps=3, gradient_accumulation_steps=4)
    asked = replace(config, dtype="bf16", compile=False, threads=1)
    assert not measure_choices(lm.model, batch, asked).bf16_copies
    given = replace(measure_choices(lm.model, batch, replace(asked, gradient_accumulation_steps=1)), bf16_copies=True)
    with pytest.raises(InputError, match="without gradient accumulation"):
        reuse_choices(lm.model, given, config)


def test_choices_are_stored_and_read_again_and_an_invalid_one_is_refused() -> None:
    choices = TrainingChoices(dtype="bf16", threads=2, loss="fused", library_pass_seconds=3.5, gflops={"fp32": 10.0})
    assert TrainingChoices.from_dict(choices.to_dict()) == choices
    assert "plain_pass_seconds" not in choices.to_dict(), "what was not measured is not stored"
    earlier = {**choices.to_dict(), "a_field_of_another_version": 1}
    assert TrainingChoices.from_dict(earlier) == choices
    for name, value in {"dtype": "int8", "threads": 0, "compile": "yes", "loss": "odd", "bf16_copies": 1, "device": 0}.items():
        with pytest.raises(InputError, match=name):
            TrainingChoices.from_dict({**choices.to_dict(), name: value})


def test_every_setting_is_an_option_of_the_command_with_its_own_help() -> None:
    options = {one.name: one for one in config_options()}
    assert list(options) == [field.name for field in fields(FinetuneConfig)]
    for field in fields(FinetuneConfig):
        help = typing.get_args(options[field.name].annotation)[1].help
        assert options[field.name].default == field.default and help.endswith(".") and "\n" not in help


def test_the_command_line_gives_finetune_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class GivenError(Exception):
        pass

    def note(*_: Any, **settings: Any) -> None:
        given.update(settings)
        raise GivenError

    monkeypatch.setattr(main_module, "load_model", lambda *_, **__: tiny())
    monkeypatch.setattr(main_module, "evaluate", lambda *_: None)
    monkeypatch.setattr(main_module, "finetune", note)
    options = ["--max_steps", "3", "--lora", "--no-compile", "--dtype", "fp32", "--sample", "A", "--sample", "B", "--max_reviews", "40"]
    monkeypatch.setattr(sys, "argv", ["training", *options, "--dataset", "package", "--block_size", "32"])
    with pytest.raises(GivenError):
        run()
    assert given.keys() >= {field.name for field in fields(FinetuneConfig)}
    assert (given["max_steps"], given["lora"], given["compile"], given["dtype"]) == (3, True, False, "fp32")
    assert given["prompts"] == ["A", "B"] and given["learning_rate"] is None and not given["resume"]
