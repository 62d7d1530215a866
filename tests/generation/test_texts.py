import itertools

import pytest
import torch
from transformers import GenerationConfig

from nbtools.accel import Decoder, decoder_for
from nbtools.errors import InputError
from nbtools.generation import decoder_name, generate, stream
from tests.small_models import mini, tiny

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
    [{"temperature": -1}, {"top_p": 1.5}, {"top_p": 0}, {"top_k": -1}, {"top_k": 2.5}, {"min_p": 2}, {"num_beams": 0},
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


@pytest.mark.parametrize("decoding", [{}, SAMPLING, {"repetition_penalty": 1.3}, {"top_p": 0.9, "repetition_penalty": 1.2}, {"min_p": 0.1}])
def test_our_decoder_and_transformers_write_the_same_texts(decoding, monkeypatch):
    own = generate(mini(), PROMPTS, max_new_tokens=30, seed=3, num_samples=2, **decoding)
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    assert own == generate(mini(), PROMPTS, max_new_tokens=30, seed=3, num_samples=2, **decoding)


def test_a_row_that_has_ended_costs_nothing_and_the_others_go_on(monkeypatch):
    lm, sizes = mini(), []
    engine = decoder_for(lm.model, torch.float32)
    likeliest = engine.read([[5]], [0], engine.new_cache(1, 8)).argmax().item()
    full = generate(lm, PROMPTS, max_new_tokens=12)
    lm_ends = {likeliest, lm.tokenizer.encode(full[0])[5]}
    read = Decoder.read
    monkeypatch.setattr(Decoder, "read", lambda self, ids, slots, cache: sizes.append(len(slots)) or read(self, ids, slots, cache))
    monkeypatch.setattr("nbtools.generation.texts.end_ids", lambda lm: lm_ends)
    texts = generate(lm, PROMPTS, max_new_tokens=12)
    assert texts[0] == lm.tokenizer.decode(lm.tokenizer.encode(full[0])[:5])
    assert all(whole.startswith(text) for whole, text in zip(full, texts, strict=True))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 3 > sizes[-1]
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    count = len(sizes)
    monkeypatch.setattr(Decoder, "read", None)
    with lm.model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0]))):
        assert generate(lm, PROMPTS, max_new_tokens=12) == texts
    assert sizes[count:] == sizes[:count]


def test_samples_of_one_prompt_read_it_once(monkeypatch):
    lengths, read = [], Decoder.read
    monkeypatch.setattr(Decoder, "read", lambda self, ids, slots, cache: lengths.append([*map(len, ids)]) or read(self, ids, slots, cache))
    generate(mini(), PROMPTS[0], num_samples=3, max_new_tokens=3, **SAMPLING)
    assert lengths == [[3], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("decoding", [{}, SAMPLING])
@pytest.mark.parametrize("prompt", ["The movie was", "Фильм был", "🎬"])
def test_the_pieces_of_a_stream_are_the_text(decoding, prompt):
    pieces = list(stream(mini(), prompt, max_new_tokens=25, seed=2, **decoding))
    assert prompt + "".join(pieces) == generate(mini(), prompt, max_new_tokens=25, seed=2, **decoding)
    assert "" not in pieces


def test_a_stream_makes_a_token_only_when_it_is_asked_for_one(monkeypatch):
    steps, read = [], Decoder.read
    monkeypatch.setattr(Decoder, "read", lambda self, ids, slots, cache: steps.append(1) or read(self, ids, slots, cache))
    pieces = stream(mini(), "The movie was", max_new_tokens=30)
    assert steps == []
    next(pieces)
    assert len(steps) == 1
    pieces.close()
    assert list(pieces) == [] and len(steps) == 1
    assert not torch.is_inference_mode_enabled()


def test_a_stream_of_transformers_own_is_the_same_and_ends_with_its_loop(monkeypatch):
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    lm, calls = mini(), []
    text = generate(lm, "The movie was", max_new_tokens=25)
    assert "The movie was" + "".join(stream(lm, "The movie was", max_new_tokens=25)) == text
    with lm.model.get_input_embeddings().register_forward_hook(lambda *call: calls.append(call)):
        for piece in stream(lm, "The movie was", max_new_tokens=400):
            assert text.startswith("The movie was" + piece)
            break
    assert len(calls) == 1


def test_an_error_in_the_model_reaches_the_reader_of_a_stream(monkeypatch):
    lm = tiny()
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    with lm.model.get_input_embeddings().register_forward_pre_hook(lambda *call: 1 / 0), pytest.raises(ZeroDivisionError):
        list(stream(lm, "The"))


@pytest.mark.parametrize("bad", [{"num_beams": 2}, {"num_samples": 2}, {"temperature": -1}, {"dtype": "int4"}, {"max_new_tokens": 0}])
def test_a_stream_refuses_before_its_first_piece(bad):
    with pytest.raises(InputError):
        stream(mini(), "The", **bad)
    with pytest.raises(InputError):
        stream(mini(), ["The"])


def test_the_code_that_decodes_is_named():
    assert decoder_name(mini()).startswith("nbtools ") and decoder_name(mini()).endswith("float32")
    assert decoder_name(mini(), "bf16").endswith("bfloat16")
    assert decoder_name(mini(), rows=100) == "nbtools in PyTorch, float32"
    assert decoder_name(mini(), num_beams=3) == "transformers, float32 (beam search)"
    lm = tiny()
    lm.model.config.activation_function = "relu"
    assert decoder_name(lm) == "transformers, float32 (of settings in its config)"


def test_without_the_fast_code_transformers_decodes_and_says_why(monkeypatch):
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    assert decoder_name(mini()) == "transformers, float32 (NBTOOLS_ACCEL is 0)"


def test_bf16_is_asked_for_and_leaves_the_model_alone():
    lm = tiny("llama")
    before = [weight.clone() for weight in lm.model.parameters()]
    assert isinstance(generate(lm, "The", max_new_tokens=5, dtype="bf16"), str)
    assert all(one.equal(two) for one, two in zip(before, lm.model.parameters(), strict=True))
    assert isinstance(generate(lm, "The", max_new_tokens=5, dtype="bf16", num_beams=2), str)
