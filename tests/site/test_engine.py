"""The engine of the pages against PyTorch and tokenizers: ids, random numbers, logits, attention, texts token for token."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
import torch

from nbtools import generate
from nbtools.errors import ModelError
from nbtools.models import evaluating
from nbtools.tokens import decode, id_texts, token_texts
from nbtools.widgets.browser.weights import pack_model
from tests.random_numbers import uniforms
from tests.site.conftest import unpacked
from tests.site.worker import PageWithWorker
from tests.small_models import mini, tiny

pytestmark = pytest.mark.xdist_group("site-engine")  # one Chromium for all of them

TEXT = "The movie was good, but the book that I read after it, on a rainy evening in the old house, was so much better."
PIECES = "a|B| |  |\n|é|日|🎉|'s|1|-|\u00a0|\u0301|the| movie|\ufeff|\u200b|\u3000|\u0085|\u2028|½".split("|")
AWKWARD = [
    "", "The movie was", "  two  spaces\n\n\nlines \t tab", "don't I'll WE'VE he'd", "naïve café — 日本語 🎉👨‍👩‍👧 emoji",
    "\u0085x\ufeffy\u00a0z\u2003q", "<|endoftext|>hi<|endoftext|>", " <|endoftext|> x", "123 4567 ½ ² Ⅷ", "مرحبا עברית",
    "a\u0301 e\u0300", "\x00\x1f\x7f", "'S 'T’s", "\r\n\r\n x", "   ", " a", "a ", "word" * 40, "____!!!???...",
    "\U0001f3f4\U000e0067",
]  # fmt: skip
MODEL = """
({ Tokenizer, Safetensors, LanguageModel, fromBase64 }, { packed, plain }) => {
  const file = new Safetensors(fromBase64(packed.weights));
  const fill = (name, out) => file.fill(name, out);
  return new LanguageModel({ ...packed, tokenizer: new Tokenizer(packed.tokenizer), fill, plain });
}
"""


def keep_model(in_page: PageWithWorker, name: str, packed: object, plain: bool = False) -> None:
    """Make a model in the page itself, under a global name."""
    in_page.page.evaluate(f"([packed, plain]) => {{ globalThis.{name} = ({MODEL})(engine, {{ packed, plain }}); }}", [packed, plain])


@pytest.fixture(scope="module", autouse=True)
def models(in_page: PageWithWorker) -> None:
    packed = pack_model(mini(), "mini")
    keep_model(in_page, "lm", packed)
    keep_model(in_page, "plainLm", packed, plain=True)


def test_ids_and_texts_of_awkward_strings_are_those_of_tokenizers(in_page: PageWithWorker) -> None:
    draws = random.Random(0)
    texts = AWKWARD + ["".join(draws.choices(PIECES, k=draws.randint(1, 20))) for _ in range(300)]
    code = """(_, texts) => texts.map((text) => {
      const ids = lm.tokenizer.encode(text);
      return [ids, lm.tokenizer.pieces(text, ids), lm.tokenizer.decode(ids), ids.map((id) => lm.tokenizer.textOf(id))];
    })"""
    tokenizer = mini().tokenizer
    for text, (ids, pieces, whole, alone) in zip(texts, in_page.run(code, texts), strict=True):
        assert (ids, pieces) == token_texts(tokenizer, text), repr(text)
        assert whole == decode(tokenizer, ids) and alone == id_texts(tokenizer, ids), repr(text)


def test_half_a_character_becomes_the_replacement_character(in_page: PageWithWorker) -> None:
    assert in_page.run("() => lm.tokenizer.encode('a\\ud83dz')") == mini().tokenizer("a\ufffdz")["input_ids"]


@pytest.mark.parametrize("seed", [0, 1, 5, 123_456, 2**31 - 1])
def test_the_random_numbers_of_a_seed_are_those_of_pytorch(in_page: PageWithWorker, seed: int) -> None:
    assert in_page.run("({ uniforms }, seed) => uniforms(seed, 1000)", seed) == uniforms(seed, 1000)


def test_logits_streams_and_attention_are_those_of_pytorch(in_page: PageWithWorker) -> None:
    lm = mini()
    ids = lm.tokenizer(TEXT)["input_ids"]
    found = in_page.run("(_, ids) => { const { logits, weights, streams } = lm.record(ids); return { logits, weights, streams }; }", ids)
    with evaluating(lm.model), torch.inference_mode():
        implementation = lm.model.config._attn_implementation
        lm.model.set_attn_implementation("eager")
        try:
            output = lm.model(torch.tensor([ids]), output_attentions=True, output_hidden_states=True)
        finally:
            lm.model.set_attn_implementation(implementation)
    assert np.abs(np.array(found["logits"]) - output.logits[0, -1].numpy()).max() < 1e-3
    for layer in range(6):
        shape = output.attentions[layer][0].shape
        assert np.abs(np.reshape(found["weights"][layer], shape) - output.attentions[layer][0].numpy()).max() < 1e-4
        stream = output.hidden_states[layer][0].numpy()
        assert np.abs(np.reshape(found["streams"][layer], stream.shape) - stream).max() < 1e-5 * np.abs(stream).max()


def test_webassembly_is_used_and_plain_javascript_gives_the_same(in_page: PageWithWorker) -> None:
    ids = mini().tokenizer(TEXT)["input_ids"]
    found = in_page.run("(_, ids) => ({ fast: lm.record(ids).logits, plain: plainLm.record(ids).logits })", ids)
    assert in_page.run("() => [Boolean(lm.network.heap.product), Boolean(plainLm.network.heap.product)]") == [True, False]
    assert np.abs(np.array(found["fast"]) - found["plain"]).max() < 1e-3


def test_tokens_one_by_one_give_what_one_pass_gives(in_page: PageWithWorker) -> None:
    """With the cache, and with a cache of which only the beginning still fits."""
    code = """(_, ids) => {
      const whole = lm.record(ids).logits;
      lm.logits([...ids.slice(0, 5), 99, 98, 97]);
      for (let end = 6; end < ids.length; end += 1) lm.logits(ids.slice(0, end));
      return [whole, lm.logits(ids)];
    }"""
    one, other = in_page.run(code, mini().tokenizer(TEXT)["input_ids"])
    assert np.abs(np.array(one) - other).max() < 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 0.7, "top_k": 50, "top_p": 0.95},
        {"temperature": 1.2, "min_p": 0.05, "seed": 3},
        {"temperature": 1.0, "top_k": 40, "repetition_penalty": 1.3, "seed": 7},
    ],
    ids=["greedy", "top-k and top-p", "min-p", "penalty"],
)
def test_texts_are_those_of_generate_token_for_token(in_page: PageWithWorker, settings: dict[str, float]) -> None:
    for prompt in ("The movie was", "", "It's 1850; 日本 🎉"):
        key, _ = in_page.open("PromptLab", prompt=prompt, **{"top_k": 0, "top_p": 1.0, "max_new_tokens": 60, **settings})
        answer = in_page.ask(key, "write")
        text = prompt + "".join(update["node"]["text"] for update in answer.updates)
        expected = generate(mini(), prompt, **{"max_new_tokens": 60, **settings})
        assert text.replace("<|endoftext|>", "") == expected, prompt


@pytest.mark.slow(10)
def test_beam_search_finds_what_transformers_finds(in_page: PageWithWorker) -> None:
    for prompt, penalty in (("The movie was", 1.0), ("Once upon a time", 1.0), ("The old man", 1.2)):
        key, _ = in_page.open("PromptLab", prompt=prompt)
        options = {"max_new_tokens": 25, **({} if penalty == 1 else {"repetition_penalty": penalty})}
        for beams in ({}, {"num_beams": 4}, {"num_beams": 2}):
            found = in_page.ask(key, "decode", options={**options, **beams}).result["text"]
            assert found == generate(mini(), prompt, **options, **beams), beams


def test_differences_in_8_bits_keep_a_model(pair, in_page: PageWithWorker) -> None:
    """The stored weights are within half a step of the model's, and the page computes with exactly them."""
    _, tuned, packed, packed_tuned = pair
    assert packed_tuned["plus"] == "base" and packed_tuned["tokenizer"] is None
    assert len(packed_tuned["weights"]) < 0.65 * len(packed["weights"])
    assert in_page.load("base", packed) == "" and in_page.load("tuned", packed_tuned) == ""
    try:
        _, traits = in_page.open("PromptLab", model="tuned", prompt="The movie was")
        with torch.inference_mode():
            logits = tuned.model(torch.tensor([tuned.tokenizer("The movie was")["input_ids"]])).logits[0, -1].numpy()
        assert np.abs(np.array(traits["shown"]["logits"]) - logits).max() < 1e-4
    finally:
        in_page.load("base", pack_model(mini(), "mini"))


def test_rounding_is_at_most_half_a_step() -> None:
    base, tuned = tiny(), tiny(seed=1)
    packed = pack_model(base, "base")
    own = {name.removeprefix("transformer."): weight for name, weight in tuned.model.named_parameters()}
    for name, weight in unpacked(pack_model(tuned, "tuned", base), packed).items():
        of_base = unpacked(packed)[name]
        whole = {key.removeprefix("transformer."): value for key, value in base.model.named_parameters()}[name]
        step = (own[name] - whole).abs().amax(dim=-1, keepdim=True) / 127
        rounded = (of_base - whole).abs()  # the base itself is stored in 16 bits
        assert ((weight - own[name]).abs() <= 0.51 * step + rounded + 1e-7).all(), name


def test_mini_is_stored_without_loss() -> None:
    stored = unpacked(pack_model(mini(), "mini"))
    for name, weight in mini().model.named_parameters():
        assert stored[name.removeprefix("transformer.")].equal(weight), name


def test_the_checksum_is_pythons(in_page: PageWithWorker) -> None:
    for length in (0, 1, 2, 3, 4, 5, 1001):
        data = np.random.default_rng(length).bytes(length)
        assert in_page.run("({ checksum }, bytes) => checksum(Uint8Array.from(bytes))", list(data)) == zlib.crc32(data), length


def test_damaged_weights_are_one_clear_line(in_page: PageWithWorker) -> None:
    packed = pack_model(tiny(), "tiny")
    flipped = {**packed, "weights": packed["weights"][:5000] + ("B" if packed["weights"][5000] == "A" else "A") + packed["weights"][5001:]}
    assert in_page.load("damaged", flipped) == "The weights of tiny are damaged. Copy the pages again."
    assert "damaged" in in_page.load("short", {**packed, "weights": packed["weights"][:4000]})


def test_models_that_pages_cannot_run_are_refused() -> None:
    with pytest.raises(ModelError, match="GPT-2 only"):
        pack_model(tiny("llama"), "llama")
