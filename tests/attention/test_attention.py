"""The formulas against PyTorch and against layers of GPT-2 and Llama; the trace on models with every kind of attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from nbtools.attention import (
    AttentionCost,
    AttentionTrace,
    causal_mask,
    measure_cost,
    merge_heads,
    multi_head,
    relative_difference,
    rollout,
    scaled_dot_product,
    sinusoidal_positions,
    softmax,
    split_heads,
    trace_attention,
)
from nbtools.errors import InputError, MachineError, ModelError
from nbtools.models import LanguageModel
from nbtools.models.loading import MINI_FOLDER
from nbtools.system import keep_threads

TEXT = "The sea\n was calm 😀, and $5 was paid."
SMALL = {"initializer_range": 0.4}  # wide weights, so that attention is far from even


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MINI_FOLDER)


def tiny_gpt2(tokenizer, attention: str = "sdpa", **changes) -> LanguageModel:
    torch.manual_seed(0)
    config = GPT2Config(**SMALL, vocab_size=len(tokenizer), n_embd=32, n_layer=3, n_head=4, n_positions=64, **changes)
    config._attn_implementation = attention
    return LanguageModel(GPT2LMHeadModel(config).eval(), tokenizer, "tiny-gpt2", "made in this test")


def tiny_llama(tokenizer) -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 64}
    config = LlamaConfig(**SMALL, vocab_size=len(tokenizer), **sizes, num_attention_heads=4, num_key_value_heads=2)
    config._attn_implementation = "sdpa"
    return LanguageModel(LlamaForCausalLM(config).eval(), tokenizer, "tiny-llama", "made in this test")


# Formulas


def test_softmax_equals_torch_also_where_plain_exp_overflows():
    scores = 5 * randn(2, 3, 7)
    assert torch.allclose(softmax(scores), torch.softmax(scores, dim=-1), atol=1e-6)
    large = scores + 1000
    assert torch.allclose(softmax(large), torch.softmax(large, dim=-1), atol=1e-6)
    assert not (large.exp() / large.exp().sum(dim=-1, keepdim=True)).isfinite().all()


def test_causal_mask_allows_itself_and_the_past():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("masked", [False, True])
def test_scaled_dot_product_equals_pytorch(masked):
    Q, K, V = randn(3, 2, 4, 9, 8)
    mask = causal_mask(9) if masked else None
    output, weights = scaled_dot_product(Q, K, V, mask)
    assert torch.allclose(output, F.scaled_dot_product_attention(Q, K, V, is_causal=masked), atol=1e-5)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, 9))


def test_scaled_dot_product_without_mask_or_scale_is_something_else():
    Q, K, V = randn(3, 1, 9, 16)
    right = F.scaled_dot_product_attention(Q, K, V, is_causal=True)
    unmasked, _ = scaled_dot_product(Q, K, V)
    unscaled, _ = scaled_dot_product(16**0.5 * Q, K, V, causal_mask(9))
    assert relative_difference(unmasked, right) > 0.1
    assert relative_difference(unscaled, right) > 0.1


def test_heads_split_and_merge_back():
    X = randn(2, 5, 12)
    parts = split_heads(X, 3)
    assert parts.shape == (2, 3, 5, 4)
    assert torch.equal(parts[1, 2], X[1, :, 8:])
    assert torch.equal(merge_heads(parts), X)
    with pytest.raises(InputError, match="cannot be split into 5 heads"):
        split_heads(X, 5)


def test_multi_head_equals_pytorch_module():
    theirs = torch.nn.MultiheadAttention(24, 4, batch_first=True).eval()
    torch.nn.init.normal_(theirs.in_proj_bias, generator=torch.Generator().manual_seed(1))
    W_Q, W_K, W_V = (part.T for part in theirs.in_proj_weight.detach().chunk(3))
    matrices = (W_Q, W_K, W_V, theirs.out_proj.weight.detach().T)
    biases = (*theirs.in_proj_bias.detach().chunk(3), theirs.out_proj.bias.detach())
    X = randn(2, 7, 24)
    output, weights = multi_head(X, matrices, 4, biases=biases, mask=causal_mask(7))
    # nn.MultiheadAttention's mask says where reading is forbidden, ours where it is allowed.
    expected, expected_weights = theirs(X, X, X, attn_mask=~causal_mask(7), average_attn_weights=False)
    assert relative_difference(output, expected.detach()) < 1e-5
    assert relative_difference(weights, expected_weights.detach()) < 1e-5
    without_biases, _ = multi_head(X, matrices, 4, mask=causal_mask(7))
    assert relative_difference(without_biases, expected.detach()) > 0.01


def test_multi_head_equals_a_gpt2_layer(tokenizer):
    lm = tiny_gpt2(tokenizer, "eager")
    attn, seen = lm.model.transformer.h[1].attn, {}
    torch.nn.init.normal_(attn.c_attn.bias, generator=torch.Generator().manual_seed(1))
    attn.register_forward_hook(lambda module, inputs, output: seen.update(X=inputs[0], output=output[0]))
    with torch.no_grad():
        result = lm.model(torch.arange(20)[None], output_attentions=True)
    matrices = (*attn.c_attn.weight.detach().split(32, dim=1), attn.c_proj.weight.detach())
    biases = (*attn.c_attn.bias.detach().split(32), attn.c_proj.bias.detach())
    output, weights = multi_head(seen["X"], matrices, 4, biases=biases, mask=causal_mask(20))
    assert relative_difference(output, seen["output"]) < 1e-5
    assert relative_difference(weights, result.attentions[1]) < 1e-5
    other, _ = multi_head(seen["X"], matrices, 2, biases=biases, mask=causal_mask(20))
    assert relative_difference(other, seen["output"]) > 0.01


def test_multi_head_with_grouped_keys_equals_pytorch():
    X, W_Q, W_O = randn(6, 32), randn(32, 32, seed=1), randn(32, 32, seed=2)
    W_K, W_V = randn(2, 32, 16, seed=3) / 6  # two key heads of width 8 for four query heads
    output, _ = multi_head(X, (W_Q / 6, W_K, W_V, W_O), 4, mask=causal_mask(6))
    Q, K, V = split_heads(X @ W_Q / 6, 4), split_heads(X @ W_K, 2), split_heads(X @ W_V, 2)
    theirs = F.scaled_dot_product_attention(Q[None], K[None], V[None], is_causal=True, enable_gqa=True)[0]
    assert relative_difference(output, merge_heads(theirs) @ W_O) < 1e-5
    swapped = F.scaled_dot_product_attention(Q[None], K.flip(0)[None], V.flip(0)[None], is_causal=True, enable_gqa=True)[0]
    assert relative_difference(output, merge_heads(swapped) @ W_O) > 0.1
    with pytest.raises(InputError, match="cannot share 3 key heads"):
        multi_head(X, (W_Q, randn(32, 24), randn(32, 24), W_O), 4)


def test_shapes_must_agree_to_be_compared():
    with pytest.raises(InputError, match="shapes differ"):
        relative_difference(randn(2, 3), randn(3, 2))


# Positions


def test_sinusoid_equals_the_formula_entry_by_entry():
    table = sinusoidal_positions(40, 12)
    expected = [[(math.sin, math.cos)[c % 2](i / 10_000 ** ((c - c % 2) / 12)) for c in range(12)] for i in range(40)]
    assert torch.allclose(table, torch.tensor(expected), atol=1e-6)


def test_sinusoid_keeps_its_digits_far_out():
    far = sinusoidal_positions(200_001, 4)[200_000]
    assert far[0].item() == pytest.approx(math.sin(200_000), abs=1e-6)


def test_sinusoid_moves_on_by_a_rotation_that_ignores_the_start():
    table, m = sinusoidal_positions(300, 16).double(), 9
    angle = m / 10_000 ** (torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    sines, cosines = table[:-m, 0::2], table[:-m, 1::2]
    assert torch.allclose(table[m:, 0::2], sines * angle.cos() + cosines * angle.sin(), atol=1e-6)
    assert torch.allclose(table[m:, 1::2], cosines * angle.cos() - sines * angle.sin(), atol=1e-6)
    other = (m + 1) * angle / m  # the rotation of another distance does not lead there
    assert not torch.allclose(table[m:, 0::2], sines * other.cos() + cosines * other.sin(), atol=1e-2)


@pytest.mark.parametrize("width", [0, 7])
def test_sinusoid_needs_an_even_width(width):
    with pytest.raises(InputError, match="come in pairs"):
        sinusoidal_positions(10, width)


# Trace


def test_trace_of_an_sdpa_model_has_every_layer_and_leaves_the_model_as_it_was(tokenizer):
    lm, eager = tiny_gpt2(tokenizer, "sdpa"), tiny_gpt2(tokenizer, "eager")
    trace = trace_attention(lm, TEXT)
    count = len(trace.ids)
    assert trace.weights.shape == (3, 4, count, count) and trace.weights.dtype == np.float32
    assert (trace.layers, trace.heads, trace.name) == (3, 4, "tiny-gpt2")
    assert np.allclose(trace.weights.sum(axis=-1), 1, atol=1e-5)
    assert not np.triu(trace.weights, k=1).any()
    assert trace.weights.std() > 0.05, "even attention would hide a mistake"
    with torch.no_grad():
        expected = eager.model(torch.tensor([trace.ids]), output_attentions=True).attentions
    assert np.allclose(trace.weights, torch.cat(expected).numpy(), atol=1e-6)
    assert lm.model.config._attn_implementation == "sdpa"
    assert not lm.model(torch.tensor([trace.ids]), output_attentions=True).attentions, "sdpa gives no weights; has it changed?"


def test_trace_shows_the_characters_that_each_token_covers(tokenizer):
    trace = trace_attention(tiny_gpt2(tokenizer), TEXT)
    assert "".join(token for token in trace.tokens if token != "·") == TEXT
    assert "Ġ" not in "".join(trace.tokens) and "😀" in trace.tokens


def test_trace_of_grouped_keys_equals_the_formula(tokenizer):
    lm, seen = tiny_llama(tokenizer), {}
    attn = lm.model.model.layers[1].self_attn
    for name in ("q_proj", "k_proj"):
        getattr(attn, name).register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output[0]}))
    trace = trace_attention(lm, TEXT)
    count = len(trace.ids)
    assert trace.weights.shape == (2, 4, count, count)
    Q, K = split_heads(seen["q_proj"], 4), split_heads(seen["k_proj"], 2)
    turn = lm.model.model.rotary_emb(Q, torch.arange(count)[None])
    turned_Q, turned_K = (part[0] for part in apply_rotary_pos_emb(Q[None], K[None], *turn))
    _, weights = scaled_dot_product(turned_Q, turned_K.repeat_interleave(2, dim=0), torch.zeros(4, count, 8), causal_mask(count))
    assert np.allclose(trace.weights[1], weights.detach().numpy(), atol=1e-5)
    _, unturned = scaled_dot_product(Q, K.repeat_interleave(2, dim=0), torch.zeros(4, count, 8), causal_mask(count))
    assert not np.allclose(trace.weights[1], unturned.detach().numpy(), atol=1e-2)


def test_trace_during_training_has_no_dropout_and_training_continues(tokenizer):
    lm = tiny_gpt2(tokenizer, attn_pdrop=0.9)
    calm = trace_attention(lm, TEXT)
    lm.model.train()
    again = trace_attention(lm, TEXT)
    assert np.array_equal(calm.weights, again.weights)
    assert lm.model.training and lm.model.transformer.h[0].attn.attn_dropout.training


def test_trace_of_a_16_bit_model_is_float32(tokenizer):
    lm = tiny_gpt2(tokenizer)
    lm.model.bfloat16()
    assert trace_attention(lm, TEXT).weights.dtype == np.float32


@pytest.mark.parametrize("text", ["", None, 7])
def test_trace_needs_a_text(tokenizer, text):
    with pytest.raises(InputError, match="no text"):
        trace_attention(tiny_gpt2(tokenizer), text)


def test_trace_refuses_a_text_longer_than_the_context(tokenizer):
    with pytest.raises(InputError, match="reads at most 64"):
        trace_attention(tiny_gpt2(tokenizer), "sea " * 100)


def test_trace_refuses_what_would_not_fit_into_memory(tokenizer, monkeypatch):
    monkeypatch.setattr("nbtools.attention.trace.available_memory", lambda: 1000)
    with pytest.raises(MachineError, match="more than is free"):
        trace_attention(tiny_gpt2(tokenizer), TEXT)


def test_trace_with_a_layer_missing_is_an_error_and_restores_the_model(tokenizer, monkeypatch):
    lm = tiny_gpt2(tokenizer)
    whole = lm.model.forward

    def without_last_layer(*arguments, **keywords):
        result = whole(*arguments, **keywords)
        result.attentions = result.attentions[:-1]
        return result

    monkeypatch.setattr(lm.model, "forward", without_last_layer)
    with pytest.raises(ModelError, match="2 of its 3 layers"):
        trace_attention(lm, TEXT)

    def broken(*arguments, **keywords):
        raise RuntimeError("stopped on the way")

    monkeypatch.setattr(lm.model, "forward", broken)
    with pytest.raises(RuntimeError, match="stopped"):
        trace_attention(lm, TEXT)
    assert lm.model.config._attn_implementation == "sdpa" and not lm.model.training


def test_trace_fields_must_fit_each_other():
    with pytest.raises(ValueError, match="do not fit"):
        AttentionTrace("ab", [1, 2], ["a", "b"], np.zeros((1, 1, 3, 3), dtype=np.float32))


# Rollout


def test_rollout_by_hand():
    first, second = np.array([[1, 0], [0.5, 0.5]]), np.array([[1, 0], [0.2, 0.8]])
    trace = AttentionTrace("ab", [1, 2], ["a", "b"], np.stack([[first, first], [second, second]]).astype(np.float32))
    flows = rollout(trace)
    # Half residual: [[1, 0], [.25, .75]], then [[1, 0], [.1, .9]] times that.
    assert np.allclose(flows[0], [[1, 0], [0.25, 0.75]])
    assert np.allclose(flows[1], [[1, 0], [0.1 + 0.9 * 0.25, 0.9 * 0.75]])


def test_rollout_stays_a_causal_mixture(tokenizer):
    flows = rollout(trace_attention(tiny_llama(tokenizer), TEXT))
    assert flows.dtype == np.float32
    assert np.allclose(flows.sum(axis=-1), 1, atol=1e-5)
    assert not np.triu(flows, k=1).any()


# Cost


@pytest.fixture
def two_threads():
    with keep_threads():
        torch.set_num_threads(2)
        yield


def test_cost_is_measured_at_each_length_and_gives_the_threads_back(two_threads):
    cost = measure_cost((16, 32), width=8, d_k=4, rounds=2)
    assert torch.get_num_threads() == 2
    assert cost.lengths.tolist() == [16, 32] and cost.score_bytes.tolist() == [1024, 4096]
    for seconds in (cost.projection, cost.attention, cost.fused):
        assert seconds.shape == (2,) and np.isfinite(seconds).all() and (seconds > 0).all()


def test_growth_is_the_power_of_the_length():
    lengths = np.array([64, 128, 512])
    cost = AttentionCost(lengths, 3e-6 * lengths, 2e-9 * lengths**2.0, 1e-9 * lengths**1.5, 4 * lengths**2)
    assert cost.growth() == pytest.approx({"projection": 1, "attention": 2, "fused": 1.5})
