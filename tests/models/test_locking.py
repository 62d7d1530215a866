"""Several threads use one model: each gets what it gets alone, and nobody waits for a reader that has stopped reading."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nbtools.attention import ablate_each_head, logit_lens, read_attention, score_heads, trace_attention
from nbtools.data import pack
from nbtools.errors import ModelError
from nbtools.evaluation import evaluate
from nbtools.generation import ROOT, SamplingParams, TextTree, generate, next_logits, stream
from nbtools.models import LanguageModel, evaluating, exclusive, lock_of
from nbtools.training import finetune
from tests.small_models import tiny

PROMPT, TEXT = "The movie was", "The plot was thin, but the acting was good."
VALUES: dict[str, Any] = {"max_new_tokens": 24, "seed": 3, "temperature": 0.9}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The decoder's kernel is compiled once, before any test is timed."""
    generate(tiny(), PROMPT, max_new_tokens=2)


def in_threads(*actions: Callable[[], Any], times: int = 6) -> list[Any]:
    """Each action's results, run `times` times in its own thread, all threads at once. What one raises is raised here."""
    results: list[list[Any]] = [[] for _ in actions]
    errors: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def go(place: int) -> None:
        try:
            start.wait()
            for _ in range(times):
                results[place].append(actions[place]())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=go, args=(place,)) for place in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def other_name(lm: LanguageModel) -> LanguageModel:
    """Another LanguageModel around the same torch module."""
    return LanguageModel(lm.model, lm.tokenizer, "the same model", "a test")


def left_to_transformers(lm: LanguageModel) -> LanguageModel:
    """The same model, with a hook that does nothing: the course's decoder leaves it to transformers."""
    lm.model.base_model.register_forward_hook(lambda module, inputs, outputs: None)
    return lm


@pytest.mark.parametrize("prepare", [lambda lm: lm, left_to_transformers], ids=["decoder", "transformers"])
@pytest.mark.parametrize("second", [lambda lm: lm, other_name], ids=["same object", "another object"])
def test_a_text_written_while_another_thread_ablates_and_traces_is_the_text_written_alone(
    prepare: Callable[[LanguageModel], LanguageModel], second: Callable[[LanguageModel], LanguageModel]
) -> None:
    """An ablation's hooks sent the decoder to transformers, which then wrote with muted heads; a trace swapped its attention."""
    lm = prepare(tiny(context=64))
    twin = second(lm)
    text, ablated = generate(lm, PROMPT, **VALUES), ablate_each_head(lm, TEXT, [5, 6])
    weights, scores = trace_attention(lm, TEXT).weights, score_heads(lm, length=8).induction
    perplexity, logits = evaluate(lm, [TEXT]).perplexity, next_logits(lm, PROMPT)
    written, streamed, grown, changes, traces, readings, found, scored, asked = in_threads(
        lambda: generate(lm, PROMPT, **VALUES),
        lambda: PROMPT + "".join(stream(lm, PROMPT, **VALUES)),
        lambda: grow(TextTree(lm, PROMPT, 24)),
        lambda: ablate_each_head(twin, TEXT, [5, 6]),
        lambda: trace_attention(twin, TEXT).weights,
        lambda: read_attention(twin, TEXT).trace.weights,
        lambda: score_heads(twin, length=8).induction,
        lambda: evaluate(twin, [TEXT]).perplexity,
        lambda: next_logits(twin, PROMPT),
        times=3,
    )
    assert {*written, *streamed, *grown} == {text}
    for one in changes:
        np.testing.assert_allclose(one, ablated, atol=1e-6)
    for one in traces + readings:
        np.testing.assert_allclose(one, weights, atol=1e-6)
    for one in found:
        np.testing.assert_allclose(one, scores, atol=1e-6)
    assert scored == pytest.approx([perplexity] * 3, rel=1e-5)
    assert all(torch.allclose(one, logits, atol=1e-5) for one in asked)
    assert not lm.model.training and lm.model.config._attn_implementation == "sdpa"


def grow(tree: TextTree) -> str:
    nodes = list(tree.grow(ROOT, VALUES["max_new_tokens"], VALUES["seed"], SamplingParams(temperature=VALUES["temperature"])))
    return tree.text(nodes[-1].number)


def test_two_models_read_at_once_do_not_get_each_others_numbers() -> None:
    """transformers' table of attention functions belongs to all models: the second reading's entry caught the first one's numbers."""
    first, second = tiny(seed=1), tiny(seed=2)
    alone = [read_attention(lm, TEXT).trace.weights for lm in (first, second)]
    ones, others = in_threads(lambda: read_attention(first, TEXT), lambda: read_attention(second, TEXT))
    for expected, readings in zip(alone, (ones, others), strict=True):
        for one in readings:
            np.testing.assert_allclose(one.trace.weights, expected, atol=1e-6)


@pytest.mark.parametrize("prepare", [lambda lm: lm, left_to_transformers], ids=["decoder", "transformers"])
def test_a_stream_that_nobody_reads_on_leaves_the_model_to_others(prepare: Callable[[LanguageModel], LanguageModel]) -> None:
    lm = prepare(tiny())
    own, alone = lm.model.generation_config, "".join(stream(lm, PROMPT, **VALUES))
    pieces = stream(lm, PROMPT, **VALUES)
    first = next(pieces)
    [others] = in_threads(lambda: (ablate_each_head(lm, TEXT, [5]), generate(lm, PROMPT, **VALUES)), times=1)
    assert others[0][1] == PROMPT + alone
    assert first + "".join(pieces) == alone and lm.model.generation_config is own


@pytest.mark.parametrize("prepare", [lambda lm: lm, left_to_transformers], ids=["decoder", "transformers"])
def test_a_text_begun_before_a_training_does_not_go_on_with_other_weights(
    prepare: Callable[[LanguageModel], LanguageModel], tmp_path: Any
) -> None:
    lm = tiny()
    packed = pack([TEXT] * 12, lm, 16)
    pieces = stream(prepare(lm), PROMPT, **VALUES)
    next(pieces)
    in_threads(lambda: finetune(lm, packed, output_dir=tmp_path / "run", max_steps=2, batch_size=2, learning_rate=1e-2), times=1)
    with pytest.raises(ModelError, match="trained while"):
        list(pieces)
    again = "".join(stream(lm, PROMPT, **VALUES))
    assert generate(lm, PROMPT, **VALUES) == PROMPT + again, "a new text is of the new weights"


def test_whoever_asks_during_a_training_waits_for_its_end(tmp_path: Any) -> None:
    """A score or text in the middle would be of half-trained weights, in whatever number format they are just then."""
    from transformers import TrainerCallback

    lm = tiny()
    packed = pack([TEXT] * 12, lm, 16)
    found: list[Any] = []

    class Ask(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            if state.global_step == 1:
                thread.start()
            assert not found, "the other thread was answered in the middle of the training"

    thread = threading.Thread(target=lambda: found.append((generate(lm, PROMPT, **VALUES), evaluate(lm, [TEXT]).perplexity)))
    finetune(lm, packed, output_dir=tmp_path / "run", max_steps=6, batch_size=2, learning_rate=1e-2, callbacks=[Ask()])
    thread.join()
    assert found == [(generate(lm, PROMPT, **VALUES), pytest.approx(evaluate(lm, [TEXT]).perplexity))]


def test_a_thread_that_holds_the_model_may_stream_from_it() -> None:
    """A training's callback, say. transformers' tokens come from a thread of their own, and each would wait for the other."""
    lm = tiny()
    left_to_transformers(lm)
    with exclusive(lm.model):
        inside = "".join(stream(lm, PROMPT, **VALUES))
    assert inside == "".join(stream(lm, PROMPT, **VALUES))


def test_every_module_is_in_its_own_mode_again() -> None:
    """One part in training mode, the rest not: `model.train(model.training)` afterwards made them all the same."""
    lm = tiny()
    part = lm.model.transformer.h[1]
    part.train()
    trace_attention(lm, TEXT), evaluate(lm, [TEXT]), logit_lens(lm, TEXT), next_logits(lm, PROMPT)
    assert part.training and part.mlp.training and not lm.model.training and not lm.model.transformer.h[0].training


def test_dropout_of_a_model_in_training_mode_does_not_reach_the_next_tokens_logits() -> None:
    lm = tiny()
    for layer in lm.model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.5
    expected = next_logits(lm, PROMPT)
    lm.model.train()
    assert torch.equal(next_logits(lm, PROMPT), expected)
    left_to_transformers(lm)
    tree = TextTree(lm, PROMPT)
    assert torch.allclose(tree.logits(tree.prompt_ids), expected, atol=1e-5) and lm.model.training


def test_one_lock_for_a_model_its_wrappers_and_its_parts() -> None:
    lm, other = tiny(), tiny()
    assert lock_of(lm.model) is lock_of(other_name(lm).model) is lock_of(lm.model.transformer)
    assert lock_of(lm.model) is not lock_of(other.model)
    with exclusive(lm.model), evaluating(lm.model), exclusive(other.model):
        assert lock_of(lm.model).held_here()
    assert not lock_of(lm.model).held_here()


def test_adapters_share_the_lock_of_the_model_that_they_are_put_on() -> None:
    pytest.importorskip("peft")
    from nbtools.training.loop import add_lora

    lm = tiny()
    before = lock_of(lm.model)
    assert lock_of(add_lora(lm)) is before
