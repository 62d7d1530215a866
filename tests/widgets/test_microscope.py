"""The microscope without a browser, on `mini` and a copy of it that was changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbtools import load_model
from nbtools.attention import trace_attention
from nbtools.compare import attention_shift
from nbtools.errors import InputError
from nbtools.generation import generate, next_logits
from nbtools.models import LanguageModel
from nbtools.widgets import Microscope
from tests.small_models import mini, tiny
from tests.widgets.front_end import ask
from tests.widgets.test_attention_explorer import unpacked

PROMPT = "The movie was really"


@pytest.fixture(scope="module")
def changed() -> LanguageModel:
    lm = load_model("mini", verbose=False)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.add_(torch.randn_like(weight) * 0.01)
    return lm


@pytest.fixture
def microscope(changed: LanguageModel) -> Microscope:
    return Microscope(mini(), changed, PROMPT, max_new_tokens=12, seed=4)


def test_changes_are_sorted_and_exact(microscope: Microscope, changed: LanguageModel) -> None:
    before, after = (next_logits(lm, PROMPT).double().log_softmax(-1) for lm in (mini(), changed))
    changes = [row[3] for row in microscope.shown["changes"]]
    assert changes == sorted(changes, reverse=True) and changes[0] > 0 > changes[-1]
    assert changes[0] == pytest.approx(float((after - before)[torch.maximum(before, after) >= np.log(1e-3)].max()), abs=1e-4)


def test_the_head_that_moved_most_is_in_sight_and_others_on_demand(microscope: Microscope, changed: LanguageModel) -> None:
    shift = attention_shift(mini(), changed, PROMPT)
    assert np.allclose(microscope.shown["shift"], shift, atol=1e-5)
    layer, head = microscope.shown["layer"], microscope.shown["head"]
    assert shift[layer, head] == shift.max()
    reply = ask(microscope, "head", layer=1, head=6).result
    pair = unpacked(reply["triangles"], len(microscope.shown["tokens"]))
    for found, lm in zip(pair, (mini(), changed), strict=True):
        assert np.abs(found - trace_attention(lm, PROMPT).weights[1, 6]).max() <= 0.5 / 255 + 1e-6


def test_texts_use_the_same_random_numbers_and_their_first_difference_is_marked(microscope: Microscope, changed: LanguageModel) -> None:
    texts = microscope.shown["texts"]
    for name, lm in (("before", mini()), ("after", changed)):
        wanted = generate(lm, PROMPT, max_new_tokens=12, seed=4, temperature=0.7, top_k=50, top_p=0.95)
        assert PROMPT + "".join(texts[name]) == wanted
    assert texts["before"] != texts["after"]


def test_a_model_against_itself_shows_no_change() -> None:
    same = Microscope(mini(), mini(), PROMPT, max_new_tokens=5)
    assert same.shown["changes"] == [] and np.max(same.shown["shift"]) < 1e-6
    assert same.shown["texts"]["before"] == same.shown["texts"]["after"]
    assert "<img" in same.static_html()


def test_another_prompt_and_seed(microscope: Microscope) -> None:
    first = microscope.shown["texts"]
    reply = ask(microscope, "compare", prompt="I", seed=9)
    assert reply.error == "" and reply.result["texts"] != first and (microscope.prompt, microscope.seed) == ("I", 9)
    assert "empty" in ask(microscope, "compare", prompt="", seed=9).error and microscope.prompt == "I"
    assert "no layer 77" in ask(microscope, "head", layer=77, head=0).error


def test_models_with_other_tokens_are_refused() -> None:
    other = tiny()
    other.tokenizer.add_tokens(["<another>"])
    with pytest.raises(InputError, match="different tokens"):
        Microscope(mini(), other, PROMPT)


def test_hostile_prompts_stay_text(changed: LanguageModel) -> None:
    markup = Microscope(mini(), changed, "<script>alert(1)</script>", max_new_tokens=4).static_html()
    assert "<script" not in markup
