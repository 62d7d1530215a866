import pytest
import torch

from nbtools.generation import generate
from nbtools.generation.library import Task, continue_rows, tokens
from nbtools.generation.params import SamplingParams
from tests.models_at_hand import mini, tiny


def _task(ids, new_tokens=6, number=torch.float32):
    return Task([ids], new_tokens, SamplingParams(), [0], {0}, number)


def test_tokens_come_one_by_one_as_transformers_makes_them():
    ids = mini().tokenizer("The movie was")["input_ids"]
    assert list(tokens(mini(), _task(ids))) == continue_rows(mini(), _task(ids))[0]


def test_the_model_is_left_as_it_was_even_after_an_error(monkeypatch):
    lm = tiny()
    lm.model.train()
    own = lm.model.generation_config
    monkeypatch.setattr(lm.model, "generate", lambda *inputs, **settings: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        continue_rows(lm, _task([3, 4]))
    assert lm.model.training and lm.model.generation_config is own


def test_in_another_number_format_the_arithmetic_is_autocast(monkeypatch):
    lm, seen = tiny("llama"), []
    monkeypatch.setattr("nbtools.generation.texts.prepare", lambda model, number: None)
    lm.model.model.layers[0].mlp.up_proj.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    generate(lm, "The", max_new_tokens=2, dtype="bf16")
    assert set(seen) == {torch.bfloat16} and lm.model.dtype == torch.float32
