import os
import subprocess
from types import SimpleNamespace

import pytest
import torch

from nbtools.data import load_reviews, pack
from nbtools.errors import InputError, MachineError, RunError
from nbtools.evaluation import evaluate
from nbtools.models import load_model
from nbtools.training import finetune
from nbtools.training.callbacks import StopOnNonFinite
from nbtools.values import CHECKS, Number
from tests.small_models import tiny


@pytest.fixture(scope="module")
def reviews():
    return load_reviews("package", 100)


def run(lm, reviews, folder, **keywords):
    defaults = {"batch_size": 2, "max_steps": 12, "learning_rate": 3e-3, "dtype": "fp32"}
    return finetune(lm, pack(reviews.train, lm, 64), output_dir=folder, **{**defaults, **keywords})


@pytest.mark.slow(4)
def test_it_learns_and_leaves_a_model_that_plain_transformers_loads(reviews, tmp_path):
    from transformers import AutoModelForCausalLM

    lm = tiny()
    before = evaluate(lm, reviews.validation)
    tuned = run(lm, reviews, tmp_path / "run", max_steps=40, validation=reviews.validation)
    assert evaluate(tuned.lm, reviews.validation).perplexity < before.perplexity / 2
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    for mine, theirs in zip(tuned.lm.model.parameters(), loaded.parameters(), strict=True):
        assert mine.equal(theirs)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".nbtools.json", "curve.jsonl", "model", "plan.json"]
    assert [row["step"] for row in tuned.curve] == [1, 10, 20, 30, 40]
    assert tuned.curve[-1]["validation_perplexity"] < tuned.curve[1]["validation_perplexity"]
    assert tuned.tokens_seen == 40 * 2 * 64 and not tuned.lm.model.training
    assert tuned.lm.model.config.use_cache


def test_the_first_loss_is_the_models_own_on_that_block(reviews, tmp_path):
    """Labels are shifted once, documents are apart, nothing is masked: Trainer's first loss is the plain one."""
    lm = tiny()
    packed = pack(reviews.train, lm, 64)
    packed.input_ids, packed.position_ids = packed.input_ids[:2], packed.position_ids[:2]
    rows = [packed[0], packed[1]]
    with torch.inference_mode():
        expected = lm.model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, use_cache=False).loss.item()
    tuned = finetune(lm, packed, output_dir=tmp_path / "run", batch_size=2, max_steps=1, dtype="fp32")
    assert tuned.curve[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_16_bit_checkpoint_is_trained_in_fp32_and_one_small_step_changes_it(reviews, tmp_path):
    stored = tiny()
    stored.model.half().save_pretrained(tmp_path / "half")
    stored.tokenizer.save_pretrained(tmp_path / "half")
    lm = load_model(str(tmp_path / "half"), verbose=False)
    assert {weight.dtype for weight in lm.model.parameters()} == {torch.float32}
    before = [weight.clone() for weight in lm.model.parameters()]
    run(lm, reviews, tmp_path / "run", max_steps=1, learning_rate=2e-5)
    changed = [not old.equal(new) for old, new in zip(before, lm.model.parameters(), strict=True)]
    assert all(changed)


@pytest.mark.slow(4)
def test_the_same_seed_gives_the_same_weights_and_another_does_not(reviews, tmp_path):
    one, same, other = (run(tiny(), reviews, tmp_path / str(at), seed=seed).lm.model for at, seed in enumerate((3, 3, 4)))
    assert all(a.equal(b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_an_earlier_run_is_kept_under_another_name(reviews, tmp_path, capsys):
    run(tiny(), reviews, tmp_path / "run", max_steps=2)
    first = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    run(tiny(), reviews, tmp_path / "run", max_steps=3)
    assert (tmp_path / "run-1" / "model" / "model.safetensors").read_bytes() == first
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() != first
    assert "kept as run-1" in capsys.readouterr().out


@pytest.mark.slow(6)
def test_a_run_that_fails_leaves_the_earlier_model_as_it_was(reviews, tmp_path, monkeypatch):
    monkeypatch.setitem(CHECKS, "learning_rate", Number(0, 1e31, above=True))  # a rate that is refused otherwise
    run(tiny(), reviews, tmp_path / "run", max_steps=2)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="not finite"):
        run(tiny(), reviews, tmp_path / "run", learning_rate=1e30, max_steps=40)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not (tmp_path / "run.unfinished" / "model").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_does_not_damage_an_earlier_model(reviews, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        run(tiny(), reviews, place / "run", max_steps=2, checkpoint_steps=5)
        before = (place / "run" / "model" / "model.safetensors").read_bytes()
        with pytest.raises(MachineError, match="disk is full"):
            run(tiny(), reviews, place / "run", max_steps=9, checkpoint_steps=2)
        assert (place / "run" / "model" / "model.safetensors").read_bytes() == before
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_lora_trains_adapters_and_saves_a_merged_model(reviews, tmp_path, kind):
    pytest.importorskip("peft")
    lm = tiny(kind)
    before = [weight.clone() for weight in lm.model.parameters()]
    tuned = run(lm, reviews, tmp_path / "run", lora=True, max_steps=15, learning_rate=1e-2)
    assert tuned.curve[-1]["loss"] < tuned.curve[0]["loss"]
    loaded = load_model(str(tmp_path / "run" / "model"), verbose=False)
    after = list(loaded.model.parameters())
    changed = sum(not old.equal(new) for old, new in zip(before, after, strict=True))
    assert 0 < changed < len(before)
    one, other = evaluate(tuned.lm, reviews.validation[:4]["text"]), evaluate(loaded, reviews.validation[:4]["text"])
    assert one.nll == pytest.approx(other.nll, rel=1e-4)


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"learning_rate": -1.0}, {"max_steps": 0}, {"epochs": 0.0}, {"dtype": "int8"}])
def test_impossible_values_are_refused_before_anything_is_written(reviews, tmp_path, bad):
    with pytest.raises(InputError):
        run(tiny(), reviews, tmp_path / "run", **bad)
    assert list(tmp_path.iterdir()) == []


def test_epochs_become_steps(reviews, tmp_path):
    lm = tiny()
    packed = pack(reviews.train, lm, 64)
    packed.input_ids, packed.position_ids = packed.input_ids[:7], packed.position_ids[:7]
    tuned = finetune(lm, packed, output_dir=tmp_path / "run", batch_size=2, epochs=2, dtype="fp32")
    assert tuned.steps == 7 and tuned.parameters["max_steps"] == 7


def test_a_model_that_was_trained_here_is_not_taken_for_its_base(reviews, tmp_path):
    lm = tiny()
    run(lm, reviews, tmp_path / "run", max_steps=1)
    with pytest.raises(InputError, match="already changed"):
        run(lm, reviews, tmp_path / "run", max_steps=1)


def test_on_the_librarys_path_no_autocast_is_left_on_the_model(reviews, tmp_path):
    lm = tiny()
    lm.model.config.model_type = "opt"  # a family that the fast path does not know
    tuned = run(lm, reviews, tmp_path / "run", max_steps=1, dtype="bf16")
    lm.model.config.model_type = "gpt2"
    assert tuned.choices.loss == "library" and "_original_forward" not in vars(lm.model)
    linear = []
    handle = lm.model.transformer.h[0].mlp.c_fc.register_forward_hook(lambda module, inputs, output: linear.append(output.dtype))
    evaluate(tuned.lm, reviews.validation["text"][:1])
    handle.remove()
    assert set(linear) == {torch.float32}


def test_trainers_log_goes_to_tensorboard_and_stays_with_the_run(reviews, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tuned = run(tiny(), reviews, tmp_path / "run", report_to="tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert sorted(losses) == list(range(1, 13))
    assert tuned.curve[0]["loss"] == pytest.approx(losses[1], abs=1e-3)
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


@pytest.mark.parametrize(("name", "words"), [("tensorbord", "not supported"), ("comet_ml", "comet")])
def test_a_report_that_cannot_be_made_is_refused_before_anything_starts(reviews, tmp_path, name, words):
    with pytest.raises(InputError) as refused:
        run(tiny(), reviews, tmp_path / "run", report_to=name)
    assert words in refused.value.problem and "pip install" in refused.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rate", "words"), [(0.5, "lower than 0.5"), (0.0, 'dtype="fp32"')])
def test_the_advice_for_a_non_finite_loss_depends_on_the_learning_rate(rate, words, tmp_path):
    """An estimate's steps have a rate of 0, and no lower one would help."""
    arguments = SimpleNamespace(fp16=False, learning_rate=rate)
    state = SimpleNamespace(global_step=1, max_steps=6, is_world_process_zero=False)
    control, watch = SimpleNamespace(should_save=False), StopOnNonFinite(tmp_path)
    watch.on_log(arguments, state, control, {"loss": float("nan")})
    assert control.should_training_stop and words in watch.error.remedy
