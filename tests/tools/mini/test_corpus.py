"""A corpus in each of its forms, and in forms that are none."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from nbtools.errors import DataError, InputError
from tools.mini.corpus import Document, read_corpus, split_corpus

ROWS = [{"source": "a", "text": "One."}, {"source": "empty", "text": "  "}, {"source": "again", "text": "One."}, {"text": "Two: ünï."}]


def test_lines_of_json_packed_or_not(tmp_path: Path) -> None:
    text = "\n".join(map(json.dumps, ROWS)) + "\n\n"
    plain, packed = tmp_path / "c.jsonl", tmp_path / "c.jsonl.xz"
    plain.write_text(text, encoding="utf8")
    packed.write_bytes(lzma.compress(text.encode()))
    wanted = [Document("a", "One."), Document("line 4", "Two: ünï.")]
    assert read_corpus(plain) == read_corpus(packed) == wanted


def test_text_files(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Second.", encoding="utf8")
    (tmp_path / "a.txt").write_text("First.", encoding="utf8")
    (tmp_path / "notes.md").write_text("Neither.", encoding="utf8")
    assert read_corpus(tmp_path) == [Document("a", "First."), Document("b", "Second.")]
    assert read_corpus(tmp_path / "b.txt") == [Document("b", "Second.")]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("c.jsonl", b'{"text": "a"}\nnot json\n', "Line 2 of c.jsonl"),
        ("c.jsonl", b'{"texts": "a"}\n', "Line 1 of c.jsonl"),
        ("c.jsonl", b"[1]\n", "Line 1 of c.jsonl"),
        ("c.jsonl", b'{"text": 3}\n', "line 1 of c.jsonl is int"),
        ("c.jsonl", b"\n", "holds no text"),
        ("c.txt", b"caf\xe9", "not UTF-8: byte 3 is 0xe9"),
        ("c.csv", b"a", "not a corpus"),
    ],
)
def test_what_is_no_corpus_is_said(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((DataError, InputError), match=problem):
        read_corpus(path)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_corpus(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read_corpus(tmp_path)


def test_held_out_documents_are_whole_and_named(tmp_path: Path) -> None:
    books = [Document("a", "A."), Document("b", "B."), Document("c", "C.")]
    assert split_corpus(books, ["b"]) == ([books[0], books[2]], [books[1]])
    with pytest.raises(InputError, match="No document is called 'd'"):
        split_corpus(books, ["d"])
    with pytest.raises(InputError, match="All documents"):
        split_corpus(books, ["a", "b", "c"])
