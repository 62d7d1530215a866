"""A recipe's values, and the size and compute that follow from them."""

from __future__ import annotations

import pytest

from nbtools.errors import InputError
from tests.small_models import mini
from tools.mini.new_model import new_gpt2
from tools.mini.recipe import Recipe


@pytest.mark.parametrize("tied", [True, False])
def test_the_size_is_that_of_the_model(tied: bool) -> None:
    recipe = Recipe(layers=3, heads=4, width=64, context=128, tied=tied, vocabulary=len(mini().tokenizer))
    lm = new_gpt2(mini().tokenizer, layers=3, heads=4, width=64, context=128, tied=tied)
    assert lm.parameters == recipe.stored_parameters


def test_compute_is_counted_by_matrices_and_attention() -> None:
    recipe = Recipe(vocabulary=1000, layers=2, width=10, heads=2, context=20, batch_size=3, steps=5)
    matrices = 2 * 12 * 100 + 1000 * 10
    assert recipe.tokens == 300
    assert recipe.flops == 300 * (6 * matrices + 12 * 2 * 10 * 20 / 2)
    shorter = Recipe(vocabulary=1000, layers=2, width=10, heads=2, context=20, batch_size=3, steps=5, short=5, short_share=1.0)
    assert shorter.flops == 300 * (6 * matrices + 12 * 2 * 10 * 5 / 2)


def test_steps_follow_from_compute() -> None:
    recipe = Recipe().at(2e13)
    assert recipe.flops <= 2e13 < Recipe(steps=recipe.steps + 1).flops
    assert Recipe().at(1.0).steps == 1


def test_text_becomes_what_a_value_is() -> None:
    changed = Recipe().changed({"layers": "8", "tied": "false", "rate": "1e-3", "schedule": "wsd"})
    assert (changed.layers, changed.tied, changed.rate, changed.schedule) == (8, False, 1e-3, "wsd")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"leyers": "8"}, "no 'leyers'"),
        ({"layers": "many"}, "layers is 'many'"),
        ({"tied": "perhaps"}, "tied is 'perhaps'"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'"),
        ({"schedule": "steps"}, "schedule is 'steps'"),
        ({"rate": 0}, "rate is 0"),
        ({"short_share": 1.5}, "short_share is 1.5"),
    ],
)
def test_what_is_no_recipe_is_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Recipe().changed(values)
