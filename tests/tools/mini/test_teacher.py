"""The teacher's batched decoding: the library's logits, whatever stands in the other rows, and every prompt continued once."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nbtools.accel.native import available
from tests.small_models import tiny
from tools.mini.teacher import BatchedLlama, Sampling, sample_texts

PROMPTS = [[5, 9, 12], [7], [30, 31, 32, 33, 34], [8, 8], [40, 2, 6], [11, 12]]


def decoder(rows: int, length: int = 48) -> BatchedLlama:
    return BatchedLlama(tiny("llama").model, rows, length, torch.float32)


def test_logits_are_those_of_the_library_for_prompts_of_different_length_and_for_the_tokens_after_them() -> None:
    model, llama = tiny("llama").model, decoder(rows=4)
    texts = [list(prompt) for prompt in PROMPTS[:3]]
    rows, lengths = torch.tensor([2, 0, 3]), torch.tensor([len(text) for text in texts])
    padded = torch.tensor([text + [0] * (5 - len(text)) for text in texts])
    found = llama.logits(padded, torch.zeros_like(lengths), rows, lengths - 1)
    for step in range(3):
        for logits, text in zip(found, texts, strict=True):
            torch.testing.assert_close(logits, model(torch.tensor([text])).logits[0, -1], atol=1e-4, rtol=1e-4)
        following = torch.tensor([50 + step, 60 + step, 70 + step])
        texts = [[*text, int(token)] for text, token in zip(texts, following, strict=True)]
        found = llama.logits(following[:, None], lengths + step, rows, torch.zeros_like(rows))


@pytest.mark.skipif(not available("adamw"), reason="no C++ compiler here")
def test_the_compiled_attention_gives_the_logits_of_pytorchs() -> None:
    config = LlamaConfig(
        vocab_size=300, hidden_size=384, intermediate_size=512, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    by_kernel, by_pytorch = (BatchedLlama(model, 3, 40) for _ in range(2))
    assert by_kernel.kernel
    by_pytorch.kernel = None
    prompts, lengths, rows = torch.randint(0, 300, (3, 9)), torch.tensor([9, 5, 7]), torch.arange(3)
    for llama in (by_kernel, by_pytorch):
        llama.logits(prompts, torch.zeros_like(lengths), rows, lengths - 1)
    rows = torch.tensor([2, 0])  # some rows of the cache, not in order
    for step in range(4):
        tokens = torch.randint(0, 300, (2, 1))
        found, expected = (llama.logits(tokens, lengths[rows] + step, rows, torch.zeros_like(rows)) for llama in (by_kernel, by_pytorch))
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)  # both round to bf16 after each operation


def test_every_prompt_is_continued_once_with_fewer_rows_than_prompts() -> None:
    made = list(sample_texts(decoder(rows=2), PROMPTS, [0], Sampling(top_k=8, max_new_tokens=6), seed=1))
    assert sorted(sample.index for sample in made) == list(range(len(PROMPTS)))
    assert all(sample.ended or len(sample.ids) == 6 for sample in made)
    assert all(0 not in sample.ids and 0.7 <= sample.temperature <= 0.9 for sample in made)


def test_a_text_ends_at_an_end_token_and_its_row_takes_the_next_prompt() -> None:
    free = {one.index: one.ids for one in sample_texts(decoder(rows=6), PROMPTS, [], Sampling(top_k=1, max_new_tokens=6), seed=1)}
    end = free[0][2]
    made = {one.index: one for one in sample_texts(decoder(rows=2), PROMPTS, [end], Sampling(top_k=1, max_new_tokens=6), seed=1)}
    assert made[0].ended and made[0].ids == free[0][: free[0].index(end)]
    for index, ids in free.items():  # greedy, so that other rows and the order of the prompts change nothing
        assert made[index].ids == (ids[: ids.index(end)] if end in ids else ids)


def test_the_same_seed_gives_the_same_texts_and_another_seed_others() -> None:
    def texts(seed: int) -> list[list[int]]:
        return [one.ids for one in sample_texts(decoder(rows=3), PROMPTS, [0], Sampling(top_k=50, max_new_tokens=8), seed)]

    assert texts(1) == texts(1) != texts(2)


def test_texts_longer_than_the_cache_are_refused() -> None:
    with pytest.raises(ValueError, match="the cache has 48 positions"):
        list(sample_texts(decoder(rows=2), PROMPTS, [0], Sampling(max_new_tokens=44), seed=0))


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="not for gpt2"):
        BatchedLlama(tiny().model, 2, 16)
