"""The fast path, held to plain transformers: same loss, same gradients, same model afterwards."""

from __future__ import annotations

import itertools

import pytest
import torch

from nbtools.accel import fast_path, kernels
from nbtools.accel.fast_path import FastPath, faster_layers, fits
from nbtools.data import load_reviews, pack
from nbtools.evaluation import evaluate
from nbtools.models import load_model
from nbtools.system import choose_dtype
from nbtools.training import finetune
from nbtools.training.loop import add_lora
from tests.small_models import mini, needs_a_compiler, tiny

COMPILED = pytest.param({"compiled": True}, marks=[needs_a_compiler, pytest.mark.slow(20)], id="compiled")
PATHS = [pytest.param({}, id="plain"), COMPILED]
WAYS = [*PATHS, pytest.param({"onednn": True}, id="onednn"), pytest.param({"native": False}, id="without C++")]
REVIEWS = ["A fine film. I laughed.", "Dull, long and loud; I left before the end of it.", "See it with somebody you love!"] * 8


def batch(lm, rows: int = 2):
    packed = pack(REVIEWS, lm, 64)
    return {name: torch.stack([packed[row][name] for row in range(rows)]) for name in packed[0]}


def losses_and_gradients(model, inputs, **keywords):
    model.zero_grad()
    loss = model(**inputs, **keywords).loss
    loss.backward()
    return loss.item(), {name: weight.grad.float().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_in_fp32_loss_and_gradients_are_those_of_plain_transformers(monkeypatch, kind, way):
    if not way.get("native", True):
        monkeypatch.setattr(kernels, "code", lambda: None)
    lm = tiny(kind)
    lm.model.train()
    inputs = batch(lm)
    expected, theirs = losses_and_gradients(lm.model, inputs, use_cache=False)
    with FastPath(lm.model, torch.float32, compiled=way.get("compiled", False), onednn=way.get("onednn", False)):
        loss, mine = losses_and_gradients(lm.model, inputs)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_faster_layers_change_no_result_and_are_removed_again(monkeypatch, kind):
    monkeypatch.setattr(fast_path, "onednn_is_faster", lambda: True)
    lm = tiny(kind)
    inputs = batch(lm)
    expected, theirs = losses_and_gradients(lm.model, inputs, use_cache=False)
    with faster_layers(lm.model):
        assert "forward" in vars(lm.model.lm_head)
        loss, mine = losses_and_gradients(lm.model, inputs, use_cache=False)
    assert loss == pytest.approx(expected, rel=1e-6)
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=1e-6, msg=name)
    assert not [name for name, module in lm.model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_rows_padded_on_the_right_need_no_mask(kind):
    lm = tiny(kind)
    ids, mask = lm.pad([row[:length] for row, length in zip(batch(lm, 3)["input_ids"].tolist(), (64, 5, 31), strict=True)])
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
    expected, theirs = losses_and_gradients(lm.model, inputs, use_cache=False)
    implementation = lm.model.config._attn_implementation
    with faster_layers(lm.model, right_padded=True):
        assert lm.model.config._attn_implementation != implementation
        loss, mine = losses_and_gradients(lm.model, inputs, use_cache=False)
    assert loss == pytest.approx(expected, rel=1e-6) and lm.model.config._attn_implementation == implementation
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_with_adapters_loss_and_gradients_are_those_of_peft(kind, onednn):
    """Of the adapters alone: what is frozen gets no gradient. Their second matrix begins at zero, so it is filled first."""
    pytest.importorskip("peft")
    model = add_lora(tiny(kind))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    model.train()
    inputs = batch(tiny(kind))
    expected, theirs = adapter_gradients(model, inputs, use_cache=False)
    assert fits(model)
    with FastPath(model, torch.float32, onednn=onednn):
        loss, mine = adapter_gradients(model, inputs)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert mine.keys() == theirs.keys() and all("lora" in name for name in mine)
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=1e-6, msg=name)
    assert model(**inputs, use_cache=False).logits.shape[-1] == model.config.vocab_size  # the library's forward pass is back


def adapter_gradients(model, inputs, **keywords):
    model.zero_grad()
    loss = model(**inputs, **keywords).loss
    loss.backward()
    return loss.item(), {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_the_loss_of_packed_documents_is_that_of_each_document_alone():
    lm = mini()
    packed = pack(REVIEWS[:3], lm, 32)
    inputs = {name: packed[0][name][None] for name in packed[0]}
    inputs["labels"][inputs["position_ids"] == 0] = -100  # a document's first token, which its own model call cannot predict
    starts = [*(packed.position_ids[0] == 0).nonzero()[0], packed.block_size]
    nll, count = 0.0, 0
    for begin, end in itertools.pairwise(starts):
        if end - begin > 1:
            ids = inputs["input_ids"][:, begin:end]
            nll += lm.model(ids, labels=ids).loss.item() * int(end - begin - 1)
            count += int(end - begin - 1)
    with FastPath(lm.model, torch.float32):
        loss = lm.model(**inputs).loss.item()
    assert len(starts) > 2 and loss == pytest.approx(nll / count, rel=1e-5)


COMPILED_BF16 = [
    pytest.param(kind, True, copies, marks=[needs_a_compiler, pytest.mark.long(30) if kind == "llama" or copies else pytest.mark.slow(30)])
    for kind in ("gpt2", "llama")
    for copies in (False, True)
]


@pytest.mark.parametrize(
    ("kind", "compiled", "copies"),
    [
        pytest.param("gpt2", False, False, marks=pytest.mark.slow(10)),
        pytest.param("gpt2", False, True, marks=pytest.mark.slow(10)),
        ("llama", False, False),
        ("llama", False, True),
        *COMPILED_BF16,
    ],
)
def test_in_bf16_it_strays_from_fp32_about_as_far_as_autocast_does(kind, compiled, copies):
    lm = mini() if kind == "gpt2" else tiny("llama")
    inputs = batch(lm, 4)
    truth, exact = losses_and_gradients(lm.model, inputs, use_cache=False)
    with torch.autocast("cpu", torch.bfloat16):
        librarys, theirs = losses_and_gradients(lm.model, inputs, use_cache=False)
    fast = FastPath(lm.model, torch.bfloat16, compiled=compiled, copies=copies)
    fast.engage()
    loss, mine = losses_and_gradients(lm.model, inputs)
    fast.release()
    lm.model.zero_grad()
    assert abs(loss - truth) <= 2 * abs(librarys - truth) + 0.002 * truth

    def distance(found):
        return sum(float((found[name] - exact[name]).square().sum()) for name in exact) ** 0.5

    # Twice as far where the processor multiplies in bf16, a little more where PyTorch imitates it; 1.3 % of mini's gradient is the unit.
    assert distance(mine) <= 3 * distance(theirs)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("way", PATHS)
def test_released_the_model_is_the_librarys_again_and_paused_it_is_so_for_a_while(way, copies):
    lm = tiny()
    ids = batch(lm)["input_ids"]
    plain, attention, implementation = lm.model(ids).logits, lm.model.forward, lm.model.config._attn_implementation
    weights = {name: weight.data_ptr() for name, weight in lm.model.named_parameters()}
    fast = FastPath(lm.model, torch.bfloat16, copies=copies, onednn=not way, **way)
    fast.engage()
    assert lm.model.forward != attention
    with fast.paused():
        assert lm.model(ids).logits.equal(plain)
    assert lm.model(ids).logits.equal(plain)  # without labels, too: a callback may ask for logits
    assert lm.model.forward != attention and (lm.model.lm_head.weight.dtype == torch.bfloat16) == copies
    fast.release()
    assert lm.model(ids).logits.equal(plain) and lm.model.config._attn_implementation == implementation
    assert {name: weight.data_ptr() for name, weight in lm.model.named_parameters()} == weights
    assert not [name for name, module in lm.model.named_modules() if "forward" in vars(module)]


def test_only_families_that_are_tested_take_it():
    from peft import LoraConfig, get_peft_model

    lm = tiny()
    assert fits(lm.model) and fits(tiny("llama").model)
    assert fits(get_peft_model(tiny().model, LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)))
    assert not fits(get_peft_model(tiny().model, LoraConfig(target_modules=["wte"])))  # the embedding's gradient is made for a whole one
    next(lm.model.parameters()).requires_grad_(False)
    assert not fits(lm.model)
    other = tiny()
    other.model.config.model_type = "opt"
    assert not fits(other.model)


def test_switched_off_the_library_trains_and_learns_the_same(tmp_path, monkeypatch):
    trained = []
    for value in ("1", "0"):
        monkeypatch.setenv("NBTOOLS_ACCEL", value)
        lm = tiny()
        assert fits(lm.model) is (value == "1")
        packed = pack(REVIEWS, lm, 64)
        tuned = finetune(
            lm, packed, output_dir=tmp_path / value, max_steps=3, batch_size=2, learning_rate=1e-2, dtype="fp32", compile=False
        )
        trained.append(tuned.lm.model.lm_head.weight)
    torch.testing.assert_close(*trained, rtol=0, atol=1e-4)
    assert (trained[0] - tiny().model.lm_head.weight).abs().max() > 1e-2


@needs_a_compiler
@pytest.mark.long(90)
def test_after_as_many_steps_the_perplexity_is_the_slow_paths_within_the_noise_of_three_seeds(tmp_path):
    """15 steps of mini on real reviews: the fast path in bf16, plain and compiled, against fp32 steps of the same seeds."""
    if choose_dtype().name != "bf16":
        pytest.skip("this processor imitates bf16, which takes twenty minutes here, and a fine-tuning on it does not choose bf16")
    reviews = load_reviews("package", 150)

    def mean_and_spread(**path) -> tuple[float, float]:
        found = []
        for seed in range(3):
            lm = load_model("mini", verbose=False)
            folder = tmp_path / f"{seed}-{path['dtype']}-{path['compile']}"
            tuned = finetune(lm, pack(reviews.train, lm, 128), output_dir=folder, max_steps=15, batch_size=4, seed=seed, **path)
            found.append(evaluate(tuned.lm, reviews.validation).perplexity)
        return sum(found) / 3, max(found) - min(found)

    slow, spread = mean_and_spread(dtype="fp32", compile=False)
    for compiled in (False, True):
        fast, _ = mean_and_spread(dtype="bf16", compile=compiled)
        assert abs(fast - slow) <= max(spread, 0.005 * slow), (compiled, fast, slow)
