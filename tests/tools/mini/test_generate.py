"""Shards of generated texts: resumed where they stopped, filtered, and written as a corpus that the trainer reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nbtools.errors import InputError
from tests.small_models import tiny
from tests.tools.mini.test_filters import GOOD
from tools.mini.__main__ import app
from tools.mini.corpus import read_corpus
from tools.mini.generate import generate_shards, read_shards, shard_prompts, write_corpus
from tools.mini.teacher import Sampling

TEMPLATE = "{{ messages[0]['content'][:20] }}"


def teacher():
    lm = tiny("llama", context=128)
    lm.tokenizer.chat_template = TEMPLATE
    return lm


def make(folder: Path, shards: int, first: int = 0) -> None:
    generate_shards(teacher(), folder, shards, first=first, rows=4, sampling=Sampling(top_k=20, max_new_tokens=12), count=10)


def test_a_shard_holds_every_prompt_and_shards_that_are_there_are_not_made_again(tmp_path: Path, capsys) -> None:
    make(tmp_path / "all", 2)
    make(tmp_path / "some", 1)
    first = (tmp_path / "some" / "shard-0000.jsonl").stat().st_mtime_ns
    make(tmp_path / "some", 2)
    assert (tmp_path / "some" / "shard-0000.jsonl").stat().st_mtime_ns == first
    assert "1 of 2 shards are there." in capsys.readouterr().out
    for name in ("shard-0000.jsonl", "shard-0001.jsonl"):
        assert (tmp_path / "some" / name).read_text() == (tmp_path / "all" / name).read_text()
    rows = [json.loads(line) for line in (tmp_path / "all" / "shard-0000.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and {row["kind"] for row in rows} == {"chat", "free"}
    for row in rows:
        assert row["kind"] == "chat" or row["text"].startswith(row["prompt"].strip())


@pytest.mark.slow(6)
def test_another_first_shard_gives_other_texts(tmp_path: Path) -> None:
    make(tmp_path, 2)
    again = tmp_path / "again"
    make(again, 1, first=1)
    assert [path.name for path in again.iterdir()] == ["shard-0001.jsonl"]
    assert (again / "shard-0001.jsonl").read_text() == (tmp_path / "shard-0001.jsonl").read_text()
    assert (tmp_path / "shard-0000.jsonl").read_text() != (tmp_path / "shard-0001.jsonl").read_text()


def test_prompts_differ_from_seed_to_seed_and_ask_for_no_film() -> None:
    tokenizer = teacher().tokenizer
    prompts = [text for seed in range(3) for _, text, _ in shard_prompts(tokenizer, seed, 300)]
    requests = {text for text in prompts if len(text) > 60}
    assert len(requests) > 400 and not any(word in text.lower() for text in prompts for word in ("film", "movie", "cinema"))


def test_the_corpus_holds_what_is_good_of_the_shards(tmp_path: Path) -> None:
    rows = [{"text": GOOD}, {"text": GOOD + " The movie was long."}, {"text": "Short."}]
    (tmp_path / "shard-0000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts: dict[str, int] = {}
    assert write_corpus(read_shards(tmp_path, counts), tmp_path / "corpus.jsonl.xz") == 1
    assert counts == {"kept": 1, "films": 1, "length": 1}
    assert [(book.source, book.text) for book in read_corpus(tmp_path / "corpus.jsonl.xz")] == [("smollm2-0000-0000", GOOD)]


def test_a_file_that_is_no_corpus_is_not_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "shards", 1)
    mine, corpus = tmp_path / "mine.jsonl.xz", tmp_path / "corpus.jsonl.xz"
    mine.write_bytes(b"a photograph")
    done = CliRunner().invoke(app, ["corpus", str(tmp_path / "shards"), str(mine)])
    assert isinstance(done.exception, InputError) and mine.read_bytes() == b"a photograph"
    (tmp_path / "shards" / "shard-0000.jsonl").write_text(json.dumps({"text": GOOD}) + "\n")
    for _ in range(2):  # a corpus is replaced
        done = CliRunner().invoke(app, ["corpus", str(tmp_path / "shards"), str(corpus)])
        assert done.exit_code == 0 and "1 documents in" in done.output and len(read_corpus(corpus)) == 1


def test_a_folder_without_shards_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no shard"):
        list(read_shards(tmp_path, {}))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        make(tmp_path / "file", 1)
