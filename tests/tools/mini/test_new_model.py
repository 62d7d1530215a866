"""A new GPT-2 and its tokenizer: any text can be written, and the untouched model is plain transformers'."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nbtools.errors import InputError
from nbtools.models import save_model
from tools.mini.new_model import new_gpt2, train_tokenizer

TEXTS = ["The old man walked down to the sea, and the sea was calm. " * 30]


def test_a_tokenizer_writes_what_it_never_saw(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 320, 64)
    assert 257 < len(tokenizer) <= 320 and tokenizer.eos_token_id == 0, "a short text has fewer pairs to learn"
    for text in ("the sea", "Zürich 🙂\n\tמילה", "<|endoftext|> no", "\x00"):
        ids = tokenizer(text.replace("<|endoftext|>", ""), add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text.replace("<|endoftext|>", "")
    assert len(tokenizer(" the sea")["input_ids"]) == 2, "what it saw often is one token a word"
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("calm sea")["input_ids"] == tokenizer("calm sea")["input_ids"]


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(InputError, match="no room for all bytes"):
        train_tokenizer(TEXTS, 256, 64)


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_model_knows_nothing_and_loads_as_any_other(tied: bool, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 320, 64)
    lm = new_gpt2(tokenizer, layers=2, heads=2, width=32, context=64, tied=tied, seed=3)
    ids = tokenizer(TEXTS[0][:60], return_tensors="pt")["input_ids"]
    loss = lm.model(ids, labels=ids).loss
    assert abs(float(loss.detach()) - torch.tensor(float(len(tokenizer))).log()) < 0.2, "all tokens are about equally likely"
    again = AutoModelForCausalLM.from_pretrained(save_model(lm, tmp_path / "m"), dtype="float32")
    assert torch.equal(again(ids).logits, lm.model(ids).logits)
    same = new_gpt2(tokenizer, layers=2, heads=2, width=32, context=64, tied=tied, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(lm.model.parameters(), same.model.parameters(), strict=True))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be shared"):
        new_gpt2(train_tokenizer(TEXTS, 320, 64), layers=1, heads=3, width=32, context=64)
