"""The forward pass written out is held to the library's own model, in every way in which it can be run."""

import copy
import gc

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from nbtools.accel import BF16_GAP, Decoder, available, decoder, decoder_for, release
from nbtools.accel.decode_kernel import MAX_TOKENS, DecodeKernel
from nbtools.accel.weights import read_weights
from nbtools.generation import generate
from tests.small_models import mini, tiny

GPT2 = {"vocab_size": 211, "n_positions": 96, "n_embd": 64, "n_layer": 3, "n_head": 4}
LLAMA = {"vocab_size": 211, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 96}  # fmt: skip
MODELS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, GPT2),
    "gpt2 untied": (GPT2LMHeadModel, GPT2Config, GPT2 | {"tie_word_embeddings": False}),
    "gpt2 narrow inside": (GPT2LMHeadModel, GPT2Config, GPT2 | {"n_inner": 32, "layer_norm_epsilon": 1e-2}),
    "llama": (LlamaForCausalLM, LlamaConfig, LLAMA),
    "llama tied": (LlamaForCausalLM, LlamaConfig, LLAMA | {"tie_word_embeddings": True, "rms_norm_eps": 1e-2}),
    "llama with biases": (LlamaForCausalLM, LlamaConfig, LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama ungrouped": (LlamaForCausalLM, LlamaConfig, LLAMA | {"num_key_value_heads": 4}),
    "llama, one group": (LlamaForCausalLM, LlamaConfig, LLAMA | {"num_key_value_heads": 1}),
    "llama, wide heads": (LlamaForCausalLM, LlamaConfig, LLAMA | {"head_dim": 32}),
    "llama, slow turns": (LlamaForCausalLM, LlamaConfig, LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
}
WAYS = ["kernel", "packed", "plain"]


def random_model(name, spread=0.15):
    """Weights far larger than at initialization, biases and norms too: a term left out must show."""
    kind, config, values = MODELS[name]
    torch.manual_seed(1)
    model = kind(config(**values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * spread)
    return model


def made(model, way, dtype=torch.float32):
    if way == "kernel":
        if not available("decode_kernel"):
            pytest.skip("no C++ compiler here")
        weights = read_weights(model, dtype, torch.Tensor.contiguous)
        return Decoder(weights, DecodeKernel(weights))
    if way == "packed" and not decoder.can_pack(dtype):
        pytest.skip("no packed weights here")
    return Decoder(read_weights(model, dtype, decoder._pack if way == "packed" else lambda weight: weight), None)


def logits_of(model, rows):
    """The library's own logits after every token of each row alone."""
    with torch.inference_mode():
        return [model(torch.tensor([row]), use_cache=False).logits[0] for row in rows]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_librarys_own_for_ragged_rows(name, way):
    model = random_model(name)
    stream = torch.Generator().manual_seed(2)
    rows = [torch.randint(211, (length,), generator=stream).tolist() for length in (40, 23, 31)]
    expected = logits_of(model, rows)
    engine = made(model, way)
    cache = engine.new_cache(3, 48)
    active, seen = [0, 1, 2], [17, 1, 8]
    found = engine.read([row[:count] for row, count in zip(rows, seen, strict=True)], active, cache)
    while active:
        for row, logits in zip(active, found, strict=True):
            assert logits.numpy() == pytest.approx(expected[row][seen[row] - 1].numpy(), abs=1e-4)
        active = [row for row in active if seen[row] < len(rows[row])]  # rows leave at different times
        if active:
            found = engine.read([[rows[row][seen[row]]] for row in active], active, cache)
        for row in active:
            seen[row] += 1
    assert cache.lengths == seen == [40, 23, 31]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [2, 5, 8, 11, MAX_TOKENS, MAX_TOKENS + 3])
def test_every_number_of_rows_gives_each_row_its_own_logits(count, way):
    model = random_model("llama")
    engine = made(model, way)
    cache = engine.new_cache(count, 4)
    for step in range(3):
        tokens = [[7 * row + step] for row in range(count)]
        found = engine.read(tokens, list(range(count)), cache)
    expected = torch.stack([one[-1] for one in logits_of(model, [[7 * row, 7 * row + 1, 7 * row + 2] for row in range(count)])])
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_may_be_read_in_parts_and_copied(way):
    model = random_model("gpt2")
    row = list(range(3, 40))
    engine = made(model, way)
    cache = engine.new_cache(2, 40)
    engine.read([row[:10]], [1], cache)
    cache.copy(1, 0)
    found = engine.read([row[10:], row[10:]], [0, 1], cache)
    for logits in found:
        assert logits.numpy() == pytest.approx(logits_of(model, [row])[0][-1].numpy(), abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "llama with biases", "mini"])
def test_in_bf16_the_choice_is_transformers_own_wherever_its_two_best_are_further_apart_than_the_gap(name, way):
    model = mini().model if name == "mini" else random_model(name, spread=0.05)
    row = torch.randint(0, 211, (90,), generator=torch.Generator().manual_seed(3)).tolist()
    if name == "mini":
        row = mini().tokenizer("The movie was about a man who loved his brother and the house that they had built by the sea. " * 4)[
            "input_ids"
        ]
    (expected,) = logits_of(copy.deepcopy(model).to(torch.bfloat16), [row])
    engine = made(model, way, torch.bfloat16)
    cache = engine.new_cache(1, len(row))
    clear = 0
    for token, logits in zip(row, expected.float(), strict=True):
        best, second = logits.topk(2).values
        found = engine.read([[token]], [0], cache)[0]
        if best - second > BF16_GAP * logits.abs().max():
            clear += 1
            assert found.argmax() == logits.argmax()
    assert clear > len(row) / 2


@pytest.mark.slow(4)
def test_greedy_fp32_is_transformers_own_on_mini_over_a_long_text():
    from transformers import GenerationConfig

    lm = mini()
    for prompt in ("The movie was", "I have never seen", "Once upon a time there was a"):
        ids = lm.tokenizer(prompt, return_tensors="pt")
        settings = GenerationConfig(max_new_tokens=150, do_sample=False, eos_token_id=0, pad_token_id=0)
        own = lm.model.generate(**ids, generation_config=settings)[0]
        assert generate(lm, prompt, max_new_tokens=150) == lm.tokenizer.decode(own, skip_special_tokens=True)


@pytest.mark.parametrize("change", ["in place", "through .data", "one number", "a new tensor"])
def test_changed_weights_are_noticed(change):
    lm = tiny()
    generate(lm, "The", max_new_tokens=2)
    weight = lm.model.transformer.h[1].mlp.c_fc.weight
    with torch.no_grad():
        if change == "in place":
            weight.mul_(3)
        elif change == "through .data":
            weight.data.mul_(3)
        elif change == "one number":
            weight.data[3, 5] = 40.0
        else:
            lm.model.transformer.h[1].mlp.c_fc.weight = torch.nn.Parameter(weight * 3)
    row = lm.tokenizer("The movie was")["input_ids"]
    engine = decoder_for(lm.model, torch.float32)
    found = engine.read([row], [0], engine.new_cache(1, 8))[0]
    assert found.numpy() == pytest.approx(logits_of(lm.model, [row])[0][-1].numpy(), abs=1e-4)


def test_a_weight_that_is_a_view_of_another_tensor_is_supported():
    lm = tiny()
    whole = torch.zeros(33)
    lm.model.transformer.ln_f.bias = torch.nn.Parameter(whole[1:])
    first = decoder_for(lm.model, torch.float32)
    assert decoder_for(lm.model, torch.float32) is first
    whole[32] = 1
    assert decoder_for(lm.model, torch.float32) is not first


def test_a_decoder_is_kept_until_it_is_released_and_goes_with_its_model():
    lm = tiny()
    first = decoder_for(lm.model, torch.bfloat16)
    assert decoder_for(lm.model, torch.bfloat16) is first
    assert decoder_for(lm.model, torch.float32) is not first  # one number format at a time
    assert decoder_for(lm.model, torch.bfloat16) is not first
    release(lm.model)
    assert lm.model not in decoder._prepared
    decoder_for(lm.model, torch.float32)
    before = len(decoder._prepared)
    del lm
    gc.collect()
    assert len(decoder._prepared) == before - 1


def test_in_the_models_format_weights_with_the_right_layout_are_not_copied():
    model = tiny("llama").model
    weights = read_weights(model, torch.float32, torch.Tensor.contiguous)
    assert weights.layers[0].up.weight.data_ptr() == model.model.layers[0].mlp.up_proj.weight.data_ptr()
    assert weights.head.data_ptr() == model.lm_head.weight.data_ptr() == weights.embedding.data_ptr()


def test_where_memory_is_short_the_models_own_weights_are_used(monkeypatch):
    monkeypatch.setattr(decoder, "available_memory", lambda: 1000)
    model = tiny().model
    engine = decoder_for(model, torch.float32)
    assert engine.kernel is None
    assert engine.weights.layers[0].up.weight.data_ptr() == model.transformer.h[0].mlp.c_fc.weight.data_ptr()
    release(model)
