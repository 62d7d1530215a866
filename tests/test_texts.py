"""Texts given by the caller: only lists of strings are accepted, lone surrogates are repaired, control tokens are read as text."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset, DatasetDict

from nbtools import AttentionExplorer, PromptLab, evaluate, finetune, generate, pack, trace_attention
from nbtools.attention import ablate_heads, logit_lens, read_attention
from nbtools.compare import sample_pairs
from nbtools.data import examine_texts, find_personal_data, load_texts, tokenize
from nbtools.errors import InputError
from nbtools.evaluation import copied_spans
from nbtools.tasks import score_texts
from nbtools.texts import check_texts, duration, gigabytes, repair
from nbtools.tokens import token_texts
from tests.small_models import mini, tiny
from tools.mini.corpus import read_corpus, split_corpus

WORDS = "A good film that goes on for a while. "
MARK = "<|endoftext|>"


def finetuned(lm, tmp_path, **given):
    return finetune(lm, pack([WORDS * 20], lm, 16), output_dir=tmp_path / "tuned", max_steps=1, **given)


TAKES_TEXTS = {
    "check_texts": lambda value, folder: check_texts(value),
    "tokenize": lambda value, folder: tokenize(value, mini()),
    "pack": lambda value, folder: pack(value, mini(), 8),
    "evaluate": lambda value, folder: evaluate(mini(), value),
    "examine_texts": lambda value, folder: examine_texts(value, mini()),
    "find_personal_data": lambda value, folder: find_personal_data(value),
    "copied_spans": lambda value, folder: copied_spans("one two three", value, words=2),
    "score_texts": lambda value, folder: score_texts(value, ["a", "b"]),
    "references": lambda value, folder: score_texts(["a", "b"], value),
    "split_corpus": lambda value, folder: split_corpus([], value),
    "sample_pairs": lambda value, folder: sample_pairs(mini(), mini(), value),
    "validation": lambda value, folder: finetuned(tiny(), folder, validation=value),
    "prompts": lambda value, folder: finetuned(tiny(), folder, prompts=value),
}


@pytest.mark.parametrize("name", TAKES_TEXTS)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ab", r"\['ab'\]"), (b"bytes", "a bytes"), (None, "is None"), (3, "3 .int"), ({"text": ["a", "b"]}, "a dict"),
        (["a", None], r"\[1\] is None"), (["a", float("nan")], r"\[1\] is nan .float"), ([1, "a", 2], r"\[0\] is 1 .int.*2 of 3"),
        (["a", b"b"], r"\[1\] is a bytes"), ([["a"], "b"], r"\[0\] is a list"), (pandas.Series(["a", None]), r"\[1\]"),
        (DatasetDict({"train": Dataset.from_dict({"text": ["a"]})}), "parts: train"), (Dataset.from_dict({"a": ["b"]}), "no column 'text'"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)  # fmt: skip
def test_anything_but_a_list_of_strings_is_refused(tmp_path, name, value, words):
    if value is None and name == "validation":
        return  # None means no validation
    with pytest.raises(InputError, match=words):
        TAKES_TEXTS[name](value, tmp_path)
    assert not list(tmp_path.iterdir())  # refused before any work began


def test_every_kind_of_collection_of_strings_is_accepted():
    table = pandas.DataFrame({"text": ["a", "b"], "id": [1, 2]})
    for given in (["a", "b"], ("a", "b"), iter("ab"), np.array(["a", "b"]), table, table["text"], Dataset.from_pandas(table)):
        assert check_texts(given) == ["a", "b"]


LONE_SURROGATES = ["\ud83d", "a \ud83d b", "\ude00 at the start", "two \ud83d\ud83d halves"]


@pytest.mark.parametrize("text", LONE_SURROGATES)
def test_half_of_an_emoji_is_repaired_by_every_function(tmp_path, text, capsys):
    lm = tiny()
    fixed = repair(text)
    assert fixed.encode() and "\ufffd" in fixed
    assert evaluate(lm, [text, WORDS]).nll == evaluate(lm, [fixed, WORDS]).nll
    assert np.array_equal(pack([text, WORDS * 2], lm, 8).input_ids, pack([fixed, WORDS * 2], lm, 8).input_ids)
    assert trace_attention(lm, text).text == read_attention(lm, text).trace.text == fixed
    assert token_texts(lm.tokenizer, text) == token_texts(lm.tokenizer, fixed)
    assert np.array_equal(ablate_heads(lm, text, [[]], [5]), ablate_heads(lm, fixed, [[]], [5]))
    assert logit_lens(lm, text).texts == logit_lens(lm, fixed).texts
    assert "half of a character" in capsys.readouterr().err


@pytest.mark.slow(13)  # imports matplotlib and compiles the decoder
def test_half_of_an_emoji_does_not_stop_a_live_view():
    lm, text = tiny(), "a \ud83d b"
    assert AttentionExplorer(lm, text).text == repair(text)
    assert generate(lm, text, max_new_tokens=2).startswith(repair(text)) and PromptLab(lm, text).text == repair(text)


def test_both_halves_of_an_emoji_become_the_emoji():
    assert repair("a \ud83d\ude00 b") == "a \U0001f600 b" and repair("plain") == "plain"


def test_a_text_with_half_of_an_emoji_in_a_file_is_kept(tmp_path):
    lines = [f'{{"text": "Text number {number} has an odd end \\ud83d"}}' for number in range(12)]
    (tmp_path / "odd.jsonl").write_text("\n".join(lines))
    texts = load_texts(tmp_path / "odd.jsonl")
    assert texts.counts["kept"] == 12 and any("half of a character" in note and "12 (line 1" in note for note in texts.notes)
    (tmp_path / "corpus.jsonl").write_text(lines[0])
    assert read_corpus(tmp_path / "corpus.jsonl")[0].text.endswith("\ufffd")


def test_a_file_name_that_is_not_unicode_does_not_stop_a_folder(tmp_path):
    for number in range(12):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff%d.txt" % number)).write_text(f"This is text number {number}.")
    texts = load_texts(tmp_path)
    assert texts.counts["kept"] == 12 and "<U+DCFF>" in texts.train["place"][0]


@pytest.mark.parametrize("text", [f"One film.{MARK}Another film.", MARK, f"{MARK}{MARK} twice", f"at its end {MARK}"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_spelled_out_control_token_does_not_end_a_document(text, kind, capsys):
    lm = tiny(kind)
    packed = pack([text, WORDS * 4], lm, 32)
    ends = np.flatnonzero(packed.input_ids[0] == lm.document_id)
    assert set(ends) <= set(np.flatnonzero(packed.position_ids[0] == 0))  # every end-of-text token starts a document
    assert capsys.readouterr().err.count(f"{MARK} in 1") == 1
    assert lm.tokenizer.decode(tokenize([text], lm)[0]) == text
    row = {name: value[None] for name, value in packed[0].items() if name != "labels"}
    with torch.inference_mode():
        together = lm.model(**row, use_cache=False).logits[0]
        for document in np.unique(packed.document_ids[0]):
            where = np.flatnonzero(packed.document_ids[0] == document)
            alone = lm.model(input_ids=row["input_ids"][:, where], use_cache=False).logits[0]
            assert torch.allclose(together[where], alone, atol=1e-4)


def test_texts_of_a_chat_template_can_keep_their_control_tokens(capsys):
    lm = mini()
    assert tokenize([f"a{MARK}b"], lm, control_tokens=True)[0].tolist() == lm.tokenizer(f"a{MARK}b")["input_ids"]
    assert lm.document_id not in tokenize([f"a{MARK}b"], lm)[0].tolist()  # the cache keeps both apart
    assert lm.document_id in pack([f"{WORDS}{MARK}{WORDS}"], lm, 16, control_tokens=True).input_ids[0, 1:]


def test_a_spelled_out_control_token_is_scored_as_text():
    lm = mini()
    text = f"One film.{MARK}Another."
    assert evaluate(lm, [text]).tokens == len(tokenize([text], lm)[0]) + 1


def test_a_duration_is_in_the_unit_that_is_easy_to_read():
    assert [duration(seconds) for seconds in (4.4, 75, 136, 3720, 9000)] == ["4 s", "75 s", "2.3 minutes", "62.0 minutes", "2.5 hours"]


def test_a_size_has_two_decimals_below_a_gigabyte():
    assert [gigabytes(count) for count in (0, 3e7, 9 * 10**8, 1.25e9, 25e9)] == ["0.00 GB", "0.03 GB", "0.90 GB", "1.2 GB", "25.0 GB"]


def test_a_missing_value_is_a_dash():
    for value in (None, math.nan, math.inf, "12", True):
        assert duration(value) == gigabytes(value) == "–"
