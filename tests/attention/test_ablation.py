"""Head ablation and the logit lens, compared with what the library's own modules compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbtools.attention import ablate_each_head, ablate_heads, logit_lens
from nbtools.errors import InputError
from nbtools.generation import next_tokens
from tests.small_models import mini, tiny

TEXT = "The plot was thin, but the acting was"
WORDS = [5, 300, 4000]


def own(lm, ids=None) -> torch.Tensor:
    ids = torch.tensor([lm.tokenizer(TEXT)["input_ids"]])
    with torch.inference_mode():
        return lm.model(ids).logits[0, -1].double().log_softmax(-1)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_ablating_no_head_changes_nothing(kind: str) -> None:
    lm = mini() if kind == "gpt2" else tiny("llama")
    assert np.allclose(ablate_heads(lm, TEXT, [[], []], WORDS), own(lm)[WORDS].numpy(), atol=1e-5)
    assert all(not module._forward_pre_hooks for module in lm.model.modules())


def test_an_ablated_head_is_a_head_without_its_rows_of_the_output_matrix() -> None:
    lm = tiny()
    layer, head, size = 1, 2, 8
    found = ablate_heads(lm, TEXT, [[(layer, head)]], WORDS)[0]
    weight = lm.model.transformer.h[layer].attn.c_proj.weight
    with torch.no_grad():
        weight[head * size : (head + 1) * size] = 0
    assert np.allclose(found, own(lm)[WORDS].numpy(), atol=1e-6)


def test_rows_of_a_batch_are_ablated_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = mini()
    sets = [[], [(0, 0)], [(3, 4), (5, 1)], [(2, 7)]]
    together = ablate_heads(lm, TEXT, sets, WORDS)
    monkeypatch.setattr("nbtools.attention.ablation.BATCH_TOKENS", 1)
    assert np.allclose(together, ablate_heads(lm, TEXT, sets, WORDS), atol=1e-5)


def test_all_heads_ablated_is_a_model_without_attention() -> None:
    lm = tiny()
    every = [(layer, head) for layer in range(2) for head in range(4)]
    found = ablate_heads(lm, TEXT, [every], WORDS)[0]
    with torch.no_grad():
        for block in lm.model.transformer.h:
            block.attn.c_proj.weight.zero_()
    assert np.allclose(found, own(lm)[WORDS].numpy(), atol=1e-6)


def test_every_head_is_ablated_in_turn_and_the_result_is_a_change() -> None:
    lm = mini()
    changes = ablate_each_head(lm, TEXT, WORDS)
    config = lm.model.config
    assert changes.shape == (config.n_layer, config.n_head, 3)
    alone = ablate_heads(lm, TEXT, [[], [(1, 3)]], WORDS)
    assert np.allclose(changes[1, 3], alone[1] - alone[0], atol=1e-5)


def test_a_head_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="no head 99"):
        ablate_heads(mini(), TEXT, [[(0, 99)]], WORDS)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_last_row_of_the_lens_is_the_models_prediction(kind: str) -> None:
    lm = mini() if kind == "gpt2" else tiny("llama")
    lens = logit_lens(lm, TEXT, top=4)
    exact = next_tokens(lm, TEXT)
    assert lens.texts[-1] == exact.texts(4) and np.allclose(lens.probabilities[-1], exact.probabilities[:4], atol=1e-5)
    assert len(lens.texts) == lm.model.config.num_hidden_layers + 1


def test_the_lens_applies_the_models_own_norm_and_output_layer() -> None:
    lm = mini()
    ids = torch.tensor([lm.tokenizer(TEXT)["input_ids"]])
    stream: dict[int, torch.Tensor] = {}
    hook = lm.model.transformer.h[2].register_forward_hook(
        lambda module, inputs, output: stream.update({0: output[0] if isinstance(output, tuple) else output})
    )
    with torch.inference_mode():
        lm.model(ids, use_cache=False)
        hook.remove()
        wanted = lm.model.lm_head(lm.model.transformer.ln_f(stream[0][0, 3])).double().softmax(-1).topk(5).values.numpy()
    assert np.allclose(logit_lens(lm, TEXT, place=3).probabilities[3], wanted, atol=1e-5)


def test_an_index_that_the_text_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="none is number 400"):
        logit_lens(mini(), TEXT, place=400)
