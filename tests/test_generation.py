import itertools

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from nbtools.errors import InputError
from nbtools.generation import Decoding, PromptRepetition, SeededDraw, generate, next_logits, next_tokens
from tests.models_at_hand import mini, tiny

PROMPTS = ["The movie was", "The individual has always had to struggle to keep from being overwhelmed by the tribe. If you try it", "Once"]
SAMPLING = {"temperature": 0.7, "top_k": 50, "top_p": 0.95}


def test_greedy_is_transformers_own_greedy():
    lm = mini()
    ids = lm.tokenizer(PROMPTS[0], return_tensors="pt")
    settings = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=0, pad_token_id=0)
    own = lm.model.generate(**ids, generation_config=settings)
    assert generate(lm, PROMPTS[0], max_new_tokens=20) == lm.tokenizer.decode(own[0], skip_special_tokens=True)


def test_greedy_without_a_cache_by_hand_is_the_same():
    lm = mini()
    ids = lm.tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        for _ in range(12):
            ids = torch.cat([ids, lm.model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert generate(lm, PROMPTS[0], max_new_tokens=12) == lm.tokenizer.decode(ids[0])


@pytest.mark.parametrize("decoding", [{}, SAMPLING, {"min_p": 0.1}, {"do_sample": True}, {"num_beams": 3}, {"repetition_penalty": 1.3}])
def test_a_prompts_text_is_the_same_alone_and_left_padded_in_a_batch(decoding):
    lm = mini()
    batch = generate(lm, PROMPTS, max_new_tokens=25, seed=5, **decoding)
    assert batch == [generate(lm, prompt, max_new_tokens=25, seed=5, **decoding) for prompt in PROMPTS]


def test_padding_is_not_a_repetition_of_end_of_text():
    """Padding is end-of-text: penalized like a word of the prompt, a padded row would end later than the same prompt alone."""
    penalty, scores = PromptRepetition(1.5, [2, 0]), torch.full((2, 6), 3.0)
    ids = torch.tensor([[0, 0, 4, 5], [0, 3, 4, 5]])
    assert penalty(ids, scores).tolist() == [[3, 3, 3, 3, 2, 2], [2, 3, 3, 2, 2, 2]]
    assert penalty(ids, scores)[:1].equal(PromptRepetition(1.5, [0])(ids[:1, 2:], scores[:1]))


def test_llama_like_models_batch_the_same_too():
    lm = tiny("llama")
    assert generate(lm, PROMPTS, max_new_tokens=15, seed=5, **SAMPLING)[0] == generate(
        lm, PROMPTS[0], max_new_tokens=15, seed=5, **SAMPLING
    )


def test_a_seed_replays_and_another_seed_does_not():
    lm = mini()
    one, again, other = (generate(lm, PROMPTS[0], seed=seed, **SAMPLING) for seed in (1, 1, 2))
    assert one == again != other


def test_several_samples_are_the_seeds_one_after_the_other():
    lm = mini()
    texts = generate(lm, PROMPTS[0], num_samples=3, seed=7, max_new_tokens=20, **SAMPLING)
    assert texts == [generate(lm, PROMPTS[0], seed=7 + sample, max_new_tokens=20, **SAMPLING) for sample in range(3)]
    assert len(set(texts)) == 3


def test_the_draw_follows_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]]).repeat(4000, 1)
    drawn = SeededDraw(range(4000))(torch.empty(4000, 0, dtype=torch.long), logits).argmax(-1)
    shares = np.bincount(drawn.numpy(), minlength=4) / 4000
    wanted = logits[0].softmax(-1).numpy()
    assert shares[2] == 0
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / 4000)


def test_rows_of_a_draw_do_not_see_each_other():
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 50, generator=stream)
    none = torch.empty(3, 0, dtype=torch.long)
    together = SeededDraw([4, 5, 6])(none, logits).argmax(-1)
    alone = [SeededDraw([seed])(none[:1], row[None]).argmax(-1).item() for seed, row in zip((4, 5, 6), logits, strict=True)]
    assert together.tolist() == alone


VALUES = {"temperature": [None, 0.5, 1.7], "top_k": [None, 1, 40], "top_p": [None, 0.3, 0.95], "min_p": [None, 0.05]}


@pytest.mark.parametrize("combination", list(itertools.product(*VALUES.values())))
def test_the_distribution_is_what_transformers_itself_samples_from(combination):
    """Held to the processors that `generate` builds from the same values: kind, order and numbers."""
    lm, values = mini(), dict(zip(VALUES, combination, strict=True))
    settings = GenerationConfig(do_sample=True, **{name: value for name, value in values.items() if value is not None})
    settings.top_k = values["top_k"] or 0  # transformers' default of 50 is not what None means here
    own = lm.model._get_logits_processor(settings)
    logits = next_logits(lm, PROMPTS[0])[None]
    ids = torch.zeros(1, 1, dtype=torch.long)
    expected = own(ids, logits.clone()).double().softmax(-1)[0].numpy()
    ours = next_tokens(lm, PROMPTS[0], **values)
    assert ours.probabilities == pytest.approx(expected[ours.ids], abs=1e-12)


def test_the_distribution_covers_the_vocabulary_and_knows_its_entropy():
    found = next_tokens(mini(), "The movie was")
    assert len(found.ids) == 8192 == len(set(found.ids.tolist()))
    assert found.probabilities.sum() == pytest.approx(1) and (np.diff(found.probabilities) <= 0).all()
    assert 0 < found.entropy < 13
    assert next_tokens(mini(), "The movie was", top_k=1).entropy == 0
    assert len(found.texts(3)) == 3


def test_max_length_counts_the_prompt_row_by_row():
    lm = mini()
    for text, prompt in zip(generate(lm, PROMPTS, max_length=30), PROMPTS, strict=True):
        assert len(lm.tokenizer(text)["input_ids"]) <= max(30, len(lm.tokenizer(prompt)["input_ids"]) + 1)
        assert generate(lm, prompt, max_length=30) == text


def test_an_empty_prompt_starts_where_documents_start():
    lm = mini()
    text = generate(lm, "", max_new_tokens=8)
    with torch.inference_mode():
        first = lm.model(torch.tensor([[lm.document_id]])).logits[0, -1].argmax()
    assert text.startswith(lm.tokenizer.decode([first]))


def test_a_prompt_longer_than_the_context_loses_its_beginning_with_a_warning(capsys):
    lm = tiny()
    long = "word " * 200
    text = generate(lm, long, max_new_tokens=10)
    warned = capsys.readouterr().err
    count = len(lm.tokenizer(long)["input_ids"])
    assert f"{count} tokens 54 fit; the first {count - 54} were left out" in warned
    assert text.startswith(long)


@pytest.mark.parametrize("prompt", ["Фильм был", "映画は", "🎬🎬🎬", "\ud83c", "\x00", "<|endoftext|>", "<script>"])
def test_prompts_in_any_script_are_continued(prompt):
    assert isinstance(generate(mini(), prompt, max_new_tokens=3), str)


@pytest.mark.parametrize("bad", [None, 3, b"bytes", [], ["ok", None], {"a": 1}])
def test_what_is_not_text_is_refused(bad):
    with pytest.raises(InputError, match="string"):
        generate(mini(), bad)


@pytest.mark.parametrize(
    "bad",
    [{"temperature": 0}, {"temperature": -1}, {"top_p": 1.5}, {"top_p": 0}, {"top_k": -1}, {"top_k": 2.5}, {"min_p": 2}, {"num_beams": 0},
     {"num_beams": 2, "temperature": 0.5}, {"temperature": "hot"}, {"repetition_penalty": 0}, {"max_new_tokens": 0},
     {"max_new_tokens": 512}],
)  # fmt: skip
def test_impossible_values_are_refused_in_words(bad):
    with pytest.raises(InputError):
        generate(mini(), "The", **bad)


def test_text_can_be_followed_token_by_token_and_stopped():
    seen: list[str] = []
    text = generate(mini(), "The movie was", max_new_tokens=30, on_text=seen.append, should_stop=lambda: len(seen) >= 4)
    assert len(seen) in (4, 5)  # a stop is heard before or after the token in hand is told
    assert text == "The movie was" + seen[-1]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))


def test_the_checkpoints_own_generation_defaults_are_not_mixed_in():
    lm = tiny()
    plain = generate(lm, "The", max_new_tokens=8)
    lm.model.generation_config.temperature, lm.model.generation_config.do_sample = 0.1, True
    lm.model.generation_config.repetition_penalty = 5.0
    assert generate(lm, "The", max_new_tokens=8) == plain


def test_a_decoding_describes_itself():
    assert Decoding().describe() == "greedy"
    assert Decoding(num_beams=4).describe() == "beam search, 4 beams"
    assert Decoding(temperature=0.7, top_k=50).describe() == "sampling, temperature=0.7, top_k=50"
