"""The engines give the same logits, and the one of transformers serves models that the decoder does not know."""

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, OPTConfig, OPTForCausalLM

from nbtools.accel import decoder_for
from nbtools.generation import generate
from nbtools.generation.engine import DecoderEngine, TransformersEngine
from nbtools.models import LanguageModel
from tests.small_models import mini, tiny

ROWS = [[5, 6, 7, 8, 9], [40], [5, 6, 7, 8, 9], [30, 31, 32]]
SMALL = {"vocab_size": 300, "hidden_size": 32, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}


def engines(lm):
    return [DecoderEngine(lm, decoder_for(lm.model, torch.float32)), TransformersEngine(lm, torch.float32)]


def alone(lm, row):
    """The model's own logits after a row, without padding and without a cache."""
    with torch.inference_mode():
        return lm.model(torch.tensor([row]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize("number", [0, 1], ids=["decoder", "transformers"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_rows_are_read_cloned_and_dropped_without_a_trace_of_the_others(kind, number):
    lm = tiny(kind)
    engine = engines(lm)[number]
    found = engine.prefill(ROWS, 16)
    rows, active = [list(row) for row in ROWS], [0, 1, 2, 3]
    for step in range(4):
        for row, logits in zip(active, found, strict=True):
            assert logits.numpy() == pytest.approx(alone(lm, rows[row]).numpy(), abs=1e-5)
        active = [row for row in active if row != [3, 1, None, None][step]]
        for row in active:
            rows[row].append(10 * step + row)
        found = engine.step(active, [rows[row][-1] for row in active])


@pytest.mark.parametrize(
    "model",
    [
        lambda: BloomForCausalLM(BloomConfig(**SMALL, n_layer=2, n_head=4)),  # no position_ids: a bias by distance instead
        lambda: OPTForCausalLM(OPTConfig(**SMALL, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32)),
    ],
    ids=["bloom", "opt"],
)
def test_other_families_are_decoded_in_a_padded_batch_as_alone(model):
    torch.manual_seed(0)
    lm = LanguageModel(model().eval(), mini().tokenizer, "another family", "made by a test", mini().profile)
    rows = [list(row) for row in ROWS]
    engine = TransformersEngine(lm, torch.float32)
    found = engine.prefill(rows, 16)
    for step in range(3):
        for row, logits in zip(rows, found, strict=True):
            assert logits.numpy() == pytest.approx(alone(lm, row).numpy(), abs=1e-5)
            row.append(20 + step)
        found = engine.step([0, 1, 2, 3], [20 + step] * 4)


def test_a_model_without_a_cache_reads_its_text_again(monkeypatch):
    lm = tiny()
    text = generate(lm, "The movie was", max_new_tokens=8)
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    lengths = []
    lm.model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape[1]))
    assert generate(lm, "The movie was", max_new_tokens=8) == text and lengths == [3] + [1] * 7
    lengths.clear()
    lm.model.register_forward_hook(lambda module, inputs, output: setattr(output, "past_key_values", None))
    assert generate(lm, "The movie was", max_new_tokens=8) == text and lengths == list(range(3, 11))


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}])
def test_the_model_is_left_as_it_was_even_after_an_error(options, monkeypatch):
    lm = tiny()
    lm.model.train()
    own = lm.model.generation_config
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    with lm.model.get_input_embeddings().register_forward_pre_hook(lambda *call: 1 / 0), pytest.raises(ZeroDivisionError):
        generate(lm, "The", **options)
    assert lm.model.training and lm.model.generation_config is own


def test_in_another_number_format_the_arithmetic_is_autocast(monkeypatch):
    lm, seen = tiny("llama"), []
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    lm.model.model.layers[0].mlp.up_proj.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    generate(lm, "The", max_new_tokens=2, dtype="bf16")
    assert set(seen) == {torch.bfloat16} and lm.model.dtype == torch.float32


def test_a_beam_search_can_be_stopped():
    asked = []
    stopped = generate(mini(), "The movie was", num_beams=2, max_new_tokens=30, should_stop=lambda: len(asked.append(1) or asked) == 3)
    assert len(asked) == 3 and len(mini().tokenizer(stopped)["input_ids"]) <= 6
