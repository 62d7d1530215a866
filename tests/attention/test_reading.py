"""Queries, keys and values behind the weights: the same weights as the library's, and every one of them as arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbtools.attention import Reading, read_attention, rollout, trace_attention
from nbtools.attention.reading import MODES, output_matrices
from nbtools.errors import InputError, ModelError
from nbtools.models import LanguageModel
from tests.small_models import mini, tiny

TEXT = "The plot was thin, but the acting was good."
KINDS = ["gpt2", "llama"]


def model(kind: str) -> LanguageModel:
    return mini() if kind == "gpt2" else tiny("llama")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_weights_are_the_librarys(kind: str) -> None:
    lm = model(kind)
    before = lm.model.config._attn_implementation
    reading = read_attention(lm, TEXT)
    assert np.allclose(reading.trace.weights, trace_attention(lm, TEXT).weights, atol=1e-6)
    assert lm.model.config._attn_implementation == before


def test_grouped_keys_are_shared_by_their_heads() -> None:
    reading = read_attention(tiny("llama"), TEXT)  # four heads, two groups
    assert np.array_equal(reading.keys[:, 0], reading.keys[:, 1]) and not np.array_equal(reading.keys[:, 1], reading.keys[:, 2])


def test_every_weight_is_its_arithmetic(kind: str) -> None:
    reading = read_attention(model(kind), TEXT)
    draws = np.random.default_rng(0)
    for _ in range(60):
        layer, head = draws.integers(reading.trace.layers), draws.integers(reading.trace.heads)
        row = int(draws.integers(len(reading.trace.ids)))
        column = int(draws.integers(row + 1))
        cell = reading.cell(int(layer), int(head), row, column)
        assert cell.score == pytest.approx(cell.product * cell.scale) and not cell.masked
        assert np.exp(cell.score) / cell.total == pytest.approx(cell.weight, rel=1e-4, abs=1e-7)


def test_what_comes_later_is_masked() -> None:
    cell = read_attention(mini(), TEXT).cell(0, 0, 2, 5)
    assert cell.masked and cell.weight == 0 and cell.score == -np.inf


def test_value_norms_are_lengths_of_what_a_head_adds(kind: str) -> None:
    lm = model(kind)
    reading = read_attention(lm, TEXT)
    found: dict[str, torch.Tensor] = {}
    attention = lm.model.transformer.h[0].attn if kind == "gpt2" else lm.model.model.layers[0].self_attn
    projection = attention.c_proj if kind == "gpt2" else attention.o_proj
    hook = projection.register_forward_hook(lambda module, inputs, output: found.update(out=output))
    with torch.inference_mode():
        lm.model(torch.tensor([reading.trace.ids]), use_cache=False)
    hook.remove()
    mixed = np.einsum("hij,hjd->hid", reading.trace.weights[0], reading.values[0])
    summed = sum(torch.from_numpy(mixed[head]) @ matrix for head, matrix in enumerate(output_matrices(lm)[0]))
    bias = getattr(projection, "bias", None)
    assert torch.allclose(summed + (0 if bias is None else bias.detach()), found["out"][0], atol=1e-4)  # type: ignore[operator]
    assert reading.norms.shape == reading.trace.weights.shape[:3]


@pytest.mark.parametrize("mode", MODES)
def test_each_way_of_looking_has_rows_that_sum_to_one(mode: str) -> None:
    reading = read_attention(mini(), TEXT)
    weights = reading.weights(2, mode)
    count = len(reading.trace.ids)
    assert weights.shape == ((1 if mode == "rollout" else reading.trace.heads), count, count)
    assert np.allclose(weights[:, 1:].sum(-1), 1, atol=1e-5) and (np.triu(weights, 1) == 0).all()


def test_ways_of_looking_are_what_they_say() -> None:
    reading = read_attention(mini(), TEXT)
    raw = reading.trace.weights[1]
    without = reading.weights(1, "without first")
    assert (without[:, :, 0] == 0).all() and np.allclose(without[0, 3, 1:], raw[0, 3, 1:] / raw[0, 3, 1:].sum(), atol=1e-6)
    valued = reading.weights(1, "value-weighted")
    wanted = raw[2, 4] * reading.norms[1, 2]
    assert np.allclose(valued[2, 4], wanted / wanted.sum(), atol=1e-6)
    assert np.array_equal(reading.weights(1, "rollout")[0], rollout(reading.trace)[1])


def test_invalid_arguments_are_refused() -> None:
    reading: Reading = read_attention(mini(), TEXT)
    with pytest.raises(InputError, match="no mode called"):
        reading.weights(0, "sideways")
    with pytest.raises(InputError, match="no weight at layer 99"):
        reading.cell(99, 0, 0, 0)
    with pytest.raises(InputError, match="no text"):
        read_attention(mini(), "")
    lm = tiny()
    del lm.model.transformer.h[0].attn.c_proj
    with pytest.raises((ModelError, AttributeError)):
        read_attention(lm, TEXT)
