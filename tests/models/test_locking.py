"""Several threads use one model: each gets the result that it gets alone, and an abandoned stream blocks no other thread."""

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
from nbtools.generation import SamplingParams, continue_ids, generate, logits_after, next_logits, stream
from nbtools.models import LanguageModel, evaluating, exclusive, lock_of
from nbtools.training import finetune
from tests.small_models import tiny

PROMPT, TEXT = "The movie was", "The plot was thin, but the acting was good."
VALUES: dict[str, Any] = {"max_new_tokens": 24, "seed": 3, "temperature": 0.9}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Compile the decoder's kernel once, before any test is timed."""
    generate(tiny(), PROMPT, max_new_tokens=2)


def in_threads(*actions: Callable[[], Any], times: int = 6) -> list[Any]:
    """Run each action `times` times in its own thread, all threads at once, and return its results; an exception is raised here."""
    results: list[list[Any]] = [[] for _ in actions]
    errors: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def repeat(index: int) -> None:
        try:
            start.wait()
            for _ in range(times):
                results[index].append(actions[index]())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def is_free(lm: LanguageModel) -> bool:
    """Whether this thread could lock the model."""
    turn = lock_of(lm.model).turn
    free = turn.acquire(blocking=False)
    if free:
        turn.release()
    return bool(free)


def same_module(lm: LanguageModel) -> LanguageModel:
    """Another LanguageModel with the same torch module."""
    return LanguageModel(lm.model, lm.tokenizer, "the same model", "a test")


def decoded_by_transformers(lm: LanguageModel) -> LanguageModel:
    """The same model with a hook that does nothing, because of which generation uses transformers instead of the course's decoder."""
    lm.model.base_model.register_forward_hook(lambda module, inputs, outputs: None)
    return lm


@pytest.mark.parametrize("prepare", [lambda lm: lm, decoded_by_transformers], ids=["decoder", "transformers"])
@pytest.mark.parametrize("second", [lambda lm: lm, same_module], ids=["same object", "another object"])
def test_generation_is_not_changed_by_ablation_and_traces_in_other_threads(
    prepare: Callable[[LanguageModel], LanguageModel], second: Callable[[LanguageModel], LanguageModel]
) -> None:
    """The hooks of an ablation made generation use transformers, with ablated heads; a trace replaced the attention function."""
    lm = prepare(tiny(context=64))
    twin = second(lm)
    text, ablated = generate(lm, PROMPT, **VALUES), ablate_each_head(lm, TEXT, [5, 6])
    weights, scores = trace_attention(lm, TEXT).weights, score_heads(lm, length=8).induction
    perplexity, logits = evaluate(lm, [TEXT]).perplexity, next_logits(lm, PROMPT)
    written, streamed, grown, changes, traces, readings, found, scored, asked = in_threads(
        lambda: generate(lm, PROMPT, **VALUES),
        lambda: PROMPT + "".join(stream(lm, PROMPT, **VALUES)),
        lambda: continued(lm),
        lambda: ablate_each_head(twin, TEXT, [5, 6]),
        lambda: trace_attention(twin, TEXT).weights,
        lambda: read_attention(twin, TEXT).trace.weights,
        lambda: score_heads(twin, length=8).induction,
        lambda: evaluate(twin, [TEXT]).perplexity,
        lambda: next_logits(twin, PROMPT),
        times=3,
    )
    assert {*written, *streamed, *grown} == {text}
    for change in changes:
        np.testing.assert_allclose(change, ablated, atol=1e-6)
    for trace in traces + readings:
        np.testing.assert_allclose(trace, weights, atol=1e-6)
    for induction in found:
        np.testing.assert_allclose(induction, scores, atol=1e-6)
    assert scored == pytest.approx([perplexity] * 3, rel=1e-5)
    assert all(torch.allclose(row, logits, atol=1e-5) for row in asked)
    assert not lm.model.training and lm.model.config._attn_implementation == "sdpa"


def continued(lm: LanguageModel) -> str:
    ids = lm.tokenizer(PROMPT)["input_ids"]
    return PROMPT + "".join(new.text for new in continue_ids(lm, ids, SamplingParams(**VALUES)))


def test_two_models_traced_at_once_do_not_get_each_others_weights() -> None:
    """All models share transformers' table of attention functions: the second trace's function recorded the first model's weights."""
    first, second = tiny(seed=1), tiny(seed=2)
    alone = [read_attention(lm, TEXT).trace.weights for lm in (first, second)]
    of_first, of_second = in_threads(lambda: read_attention(first, TEXT), lambda: read_attention(second, TEXT))
    for expected, readings in zip(alone, (of_first, of_second), strict=True):
        for reading in readings:
            np.testing.assert_allclose(reading.trace.weights, expected, atol=1e-6)


@pytest.mark.parametrize("prepare", [lambda lm: lm, decoded_by_transformers], ids=["decoder", "transformers"])
def test_an_unfinished_stream_does_not_block_other_threads(prepare: Callable[[LanguageModel], LanguageModel]) -> None:
    lm = prepare(tiny())
    own, alone = lm.model.generation_config, "".join(stream(lm, PROMPT, **VALUES))
    pieces = stream(lm, PROMPT, **VALUES)
    first = next(pieces)
    [others] = in_threads(lambda: (ablate_each_head(lm, TEXT, [5]), generate(lm, PROMPT, **VALUES)), times=1)
    assert others[0][1] == PROMPT + alone
    assert first + "".join(pieces) == alone and lm.model.generation_config is own


@pytest.mark.parametrize("prepare", [lambda lm: lm, decoded_by_transformers], ids=["decoder", "transformers"])
def test_a_stream_begun_before_training_is_not_continued_with_other_weights(
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
    assert generate(lm, PROMPT, **VALUES) == PROMPT + again, "a new text uses the new weights"


def test_generation_and_evaluation_wait_for_the_end_of_training(tmp_path: Any) -> None:
    """During training they would use partly trained weights, in the number format of that moment."""
    from transformers import TrainerCallback

    lm = tiny()
    packed = pack([TEXT] * 12, lm, 16)
    found: list[Any] = []

    class Ask(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            if state.global_step == 1:
                thread.start()
            assert not found, "the other thread got a result during training"

    thread = threading.Thread(target=lambda: found.append((generate(lm, PROMPT, **VALUES), evaluate(lm, [TEXT]).perplexity)))
    finetune(lm, packed, output_dir=tmp_path / "run", max_steps=6, batch_size=2, learning_rate=1e-2, callbacks=[Ask()])
    thread.join()
    assert found == [(generate(lm, PROMPT, **VALUES), pytest.approx(evaluate(lm, [TEXT]).perplexity))]


def test_a_thread_that_holds_the_model_may_stream_from_it() -> None:
    """A training callback, for example. transformers streams from a separate thread, and each would wait for the other."""
    lm = tiny()
    decoded_by_transformers(lm)
    with exclusive(lm.model):
        inside = "".join(stream(lm, PROMPT, **VALUES))
    assert inside == "".join(stream(lm, PROMPT, **VALUES))


def test_every_module_returns_to_its_earlier_mode() -> None:
    """With one module in training mode and the rest not, a final `model.train(model.training)` gave all the same mode."""
    lm = tiny()
    block = lm.model.transformer.h[1]
    block.train()
    trace_attention(lm, TEXT), evaluate(lm, [TEXT]), logit_lens(lm, TEXT), next_logits(lm, PROMPT)
    assert block.training and block.mlp.training and not lm.model.training and not lm.model.transformer.h[0].training


def test_next_logits_of_a_model_in_training_mode_are_without_dropout() -> None:
    lm = tiny()
    for layer in lm.model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.5
    expected = next_logits(lm, PROMPT)
    lm.model.train()
    assert torch.equal(next_logits(lm, PROMPT), expected)
    decoded_by_transformers(lm)
    assert torch.allclose(logits_after(lm, lm.tokenizer(PROMPT)["input_ids"]), expected, atol=1e-5) and lm.model.training


def test_a_model_its_wrappers_and_its_base_model_share_one_lock() -> None:
    lm, other = tiny(), tiny()
    assert lock_of(lm.model) is lock_of(same_module(lm).model) is lock_of(lm.model.transformer)
    assert lock_of(lm.model) is not lock_of(other.model)
    with exclusive(lm.model), evaluating(lm.model), exclusive(other.model):
        assert in_threads(lambda: is_free(lm), times=1) == [[False]]
    assert in_threads(lambda: is_free(lm), times=1) == [[True]]


def test_adapters_share_the_lock_of_their_base_model() -> None:
    pytest.importorskip("peft")
    from nbtools.training.loop import add_lora

    lm = tiny()
    before = lock_of(lm.model)
    assert lock_of(add_lora(lm)) is before
