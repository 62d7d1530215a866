"""Your own texts and tables in the formats met in practice: nothing is changed, lost or misread without a note."""

from __future__ import annotations

import json

import pytest

from nbtools.data import load_texts
from nbtools.errors import DataError, InputError

GOOD = [f"Text number {number} says something of its own." for number in range(14)]
CODE = "def f(x):\n    if x < 3 and x > 1:\n        return {\n            'a':  1,\n        }\n\n\n    return x  # &amp; <b>\n"
CHATS = [[{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Answer {n}."}] for n in range(14)]
SPOKEN = [f"user: Question {n}?\n\nassistant: Answer {n}." for n in range(14)]


def everything(texts):
    return sorted(text for name in ("train", "validation", "test") for text in texts.part(name)["text"])


def load(folder, name, content, **given):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_texts(path, **given)


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


# What is not changed.


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        "  a stanza\n    of two lines\n\n\n  and another",
        "a\tb\t\tc",
        "5 < 6 &lt; <b class='x'>7</b>",
        "a\x0bb c",
        "a\x0cb c",
        "a\u00a0b c",
        "x = 1",
    ],
)
def test_a_text_is_not_changed(text):
    assert text.rstrip() in everything(load_texts([*GOOD, text]))


def test_only_line_endings_and_surrounding_empty_lines_are_changed():
    assert "    first\n\n  second" in everything(load_texts([*GOOD, " \r\n\n    first\r\n\r\n  second\r\n \n"]))


def test_html_is_converted_on_request_and_otherwise_noted():
    page = "<p class='x'>One <b id=1>bold</b> word &amp; <a href='#'>more</a>.</p><div>Two.</div>"
    cleaned = load_texts([*GOOD, page], clean="html")
    assert "One bold word & more.\nTwo." in everything(cleaned)
    assert cleaned.notes == ["texts converted to plain text (clean='html'): 1 (item 15)"]
    assert load_texts([*GOOD, page]).notes == [
        "texts with HTML in them, kept as they are (clean='html' converts it to plain text): 1 (item 15)"
    ]
    with pytest.raises(InputError, match="clean is 'imdb'"):
        load_texts(GOOD, clean="imdb")


def test_an_entity_of_thousands_of_digits_is_not_an_error():
    assert load_texts([*GOOD, f"one &#{'9' * 5_000}; two"], clean="html").counts["kept"] == 15


@pytest.mark.parametrize(
    "text", ["Great film", "这部电影很好看", "とても良い映画", "หนังดีมาก", "a\x0bb", "ACGT" * 20, "1 2 3", "Don't bother"]
)
def test_short_texts_and_scripts_without_spaces_are_kept(text):
    assert text in everything(load_texts([*GOOD, text]))


def test_too_short_texts_and_lost_bytes_are_counted_separately():
    texts = load_texts([*GOOD, "no", "好", "lost \ufffd bytes here", "a zero\0 in it"])
    assert (texts.counts["too short"], texts.counts["lost bytes"], texts.counts["kept"]) == (2, 2, 14)
    assert texts.notes == [
        "texts of a single word or less: 2 (item 15, item 16)",
        "texts with lost bytes (U+FFFD or zero): 2 (item 17, item 18)",
    ]


# Units of plain text.

VERSES = "\n\n".join("\n".join(f"  line {n} of stanza {m}" for n in range(4)) for m in range(14))
WRAPPED = "\n\n".join(
    "\n".join("this is a line of a book that was broken at some seventy characters," for _ in range(5)) for _ in range(200)
)


@pytest.mark.parametrize(
    ("content", "unit", "kept"),
    [
        ("\n".join(GOOD), "line", 14), ("\r\n".join(GOOD), "line", 14), ("\n\n".join(GOOD), "paragraph", 14),
        ("\n \n".join(GOOD), "paragraph", 14),
        ("\n".join(f"{one} {'It is long. ' * 300}" for one in GOOD), "line", 14),
        ("\n\n".join(f"{one} {'It goes on. ' * 60}\nA second line." for one in GOOD), "paragraph", 14),
    ],
)  # fmt: skip
def test_the_unit_of_a_text_file_is_guessed_and_noted(tmp_path, content, unit, kept):
    texts = load(tmp_path, "a.txt", content)
    assert texts.counts["kept"] == kept and f"one text per {unit}" in texts.notes[0] and "guessed" in texts.notes[0]


def test_a_wrapped_book_is_not_split_at_its_lines(tmp_path):
    book = "\n\n".join(f"{number} {block}" for number, block in enumerate(WRAPPED.split("\n\n")))
    texts = load(tmp_path, "book.txt", book)
    assert "one text per document" in texts.notes[0] and sum(len(text) < 1_500 for text in everything(texts)) <= 1
    with pytest.raises(DataError, match="one text per document"):
        load(tmp_path, "verses.txt", VERSES)
    assert load(tmp_path, "verses.txt", VERSES, unit="paragraph").counts["kept"] == 14
    assert "  line 0 of stanza 3\n  line 1 of stanza 3" in "".join(everything(load(tmp_path, "verses.txt", VERSES, unit="paragraph")))


def test_a_unit_can_be_given_for_plain_text_only(tmp_path):
    assert load(tmp_path, "a.txt", "\n\n".join(f"{one}\n{one} Again." for one in GOOD), unit="line").counts["kept"] == 28
    assert load(tmp_path, "b.md", "\n".join(GOOD), unit="line").counts["kept"] == 14
    for given, words in ((tmp_path / "a.txt", "unit is 'page'"), (GOOD, "plain text files")):
        with pytest.raises(InputError, match=words):
            load_texts(given, unit="page" if "page" in words else "line")
    with pytest.raises(InputError, match="has rows"):
        load(tmp_path, "a.csv", "text\n" + "\n".join(GOOD), unit="line")


def test_each_file_of_a_folder_is_one_text(tmp_path):
    for number, text in enumerate(GOOD):
        (tmp_path / f"{number}.txt").write_text("\n".join(f"{text} Line {line}." for line in range(12)))
    texts = load_texts(tmp_path)
    assert texts.counts["kept"] == 14 and "one text each" in texts.notes[0]


# Tables.


@pytest.mark.parametrize(
    ("content", "given"),
    [
        ("sep=;\nid;text\n" + "\n".join(f"{n};{one}" for n, one in enumerate(GOOD)), {}),
        ('\ufeff"sep=|"\r\nid|text\r\n' + "\r\n".join(f"{n}|{one}" for n, one in enumerate(GOOD)), {}),
        ("id|text\n" + "\n".join(f"{n}|{one}" for n, one in enumerate(GOOD)), {}),
        ("id;text, in full\n" + "\n".join(f"{n};{one}" for n, one in enumerate(GOOD)), {"column": "text, in full"}),
        ("\n".join(GOOD), {}),
        ("\n".join(f'"{one}"' for one in GOOD), {}),
        ("\n".join(f"{n % 2},{one}" for n, one in enumerate(GOOD)), {}),
        ("\n".join(f"{'pos' if n % 2 else 'neg'};{one}" for n, one in enumerate(GOOD)), {}),
        ("What did you think of it?\n" + "\n".join(f"{one} And so on, and so on." for one in GOOD), "question"),
    ],
)
def test_a_table_loses_no_row_with_any_delimiter_and_first_line(tmp_path, content, given):
    kept = everything(load(tmp_path, "a.csv", content, **(given if isinstance(given, dict) else {})))
    assert all(any(text.startswith(one) for text in kept) for one in GOOD)


def test_a_first_line_that_is_a_text_is_noted(tmp_path):
    assert load(tmp_path, "a.csv", "\n".join(GOOD)).notes == ["a.csv has no line of column names: its first line is read as a text"]


def test_a_header_of_unknown_names_is_not_read_as_a_text(tmp_path):
    with pytest.raises(InputError, match="it is not clear which holds the text"):
        load(tmp_path, "a.csv", "title,story of it\n" + "\n".join(f"A good film,{one}" for one in GOOD))


def test_a_column_of_a_plain_text_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="column='text' is for tables"):
        load(tmp_path, "a.txt", "\n".join(GOOD), column="text")


def test_a_quotation_mark_that_is_never_closed_does_not_swallow_the_rest_of_a_table(tmp_path):
    rows = [f'{n},"{one}"' for n, one in enumerate(GOOD)]
    with pytest.raises(DataError, match=f"line {len(rows) - 2}: a quotation mark is opened here and never closed"):
        load(tmp_path, "a.csv", "id,text\n" + "\n".join([*rows[:-4], rows[-4][:-1], *(row.replace('"', "") for row in rows[-3:])]))
    with pytest.raises(DataError, match=f"line {len(rows) + 1}: a quotation mark is opened here and never closed"):
        load(tmp_path, "a.csv", "id,text\n" + "\n".join([*rows[:-1], rows[-1][:-1]]))
    spread = "\n".join(
        f'5" disc {n},"{one}\nand more"' for n, one in enumerate(GOOD)
    )  # an odd number of quotation marks within a field is valid
    assert len(everything(load(tmp_path, "b.csv", "id,text\n" + spread))) == len(GOOD)


def test_commas_in_a_single_column_are_punctuation(tmp_path):
    rows = [f"{one}{', and more' * (n % 4)}" for n, one in enumerate(GOOD)]
    texts = load(tmp_path, "a.csv", "\n".join(rows))
    assert everything(texts) == sorted(rows) and "single column" in "".join(texts.notes)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "UTF-16LE", "utf-32", "utf-32-le", "utf-8", "cp1252"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_given_encoding_is_used(tmp_path, encoding, mark, name):
    content = {"a.csv": "text\n" + "\n".join(GOOD), "a.jsonl": jsonl({"text": one} for one in GOOD), "a.txt": "\n".join(GOOD)}[name]
    mark = mark if encoding.lower().startswith("utf") and encoding != "utf-32" else ""
    assert everything(load(tmp_path, name, (mark + content).encode(encoding), encoding=encoding)) == sorted(GOOD)


@pytest.mark.parametrize("encoding", ["hex", "zip", 5, "", "utf-99", "a\0b"])
def test_an_unknown_text_encoding_is_refused(tmp_path, encoding):
    with pytest.raises(InputError, match=r"There is no encoding|encoding is 5, which is not text"):
        load(tmp_path, "a.csv", "text\n" + "\n".join(GOOD), encoding=encoding)


# Nested data.

NESTED = [{"id": n, "data": {"title": "T", "inner": {"words of it": one}}, "tags": ["x"]} for n, one in enumerate(GOOD)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "list"])
def test_a_column_can_be_a_path_into_nested_objects(tmp_path, name):
    assert everything(nested(tmp_path, name, NESTED)) == sorted(GOOD)  # the only column with text
    assert everything(nested(tmp_path, name, NESTED, column="data.inner.words of it")) == sorted(GOOD)
    with pytest.raises(InputError, match=r"no column 'data.words'") as raised:
        nested(tmp_path, name, NESTED, column="data.words")
    assert "data.inner.words of it" in raised.value.remedy


def nested(folder, name, rows, **given):
    if name == "list":
        return load_texts(rows, **given)
    if name == "a.parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
        return load_texts(folder / name, **given)
    return load(folder, name, jsonl(rows) if name == "a.jsonl" else json.dumps(rows, indent=1), **given)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "list"])
@pytest.mark.parametrize("shape", ["messages", "sharegpt", "parts"])
def test_conversations_are_read_as_paragraphs(tmp_path, name, shape):
    if shape == "sharegpt":
        rows = [{"id": n, "conversations": [{"from": t["role"], "value": t["content"]} for t in chat]} for n, chat in enumerate(CHATS)]
    elif shape == "parts":
        rows = [{"messages": [{"role": t["role"], "content": [{"type": "text", "text": t["content"]}]} for t in chat]} for chat in CHATS]
    else:
        rows = [{"messages": chat, "source": "x"} for chat in CHATS]
    texts = nested(tmp_path, name, rows)
    assert everything(texts) == sorted(SPOKEN) and "conversations" in texts.notes[0]


def test_a_parquet_file_of_lists_is_refused_and_skipped_in_a_folder(tmp_path):
    with pytest.raises(DataError, match="hold a list instead of text"):
        nested(tmp_path, "a.parquet", [{"tokens": ["a", "b"]} for _ in range(14)])
    (tmp_path / "b.jsonl").write_text(jsonl(GOOD))
    (tmp_path / "c.csv").write_text("a,b\none two three,four five six\nseven eight nine,ten eleven twelve\n")
    texts = load_texts(tmp_path)
    assert everything(texts) == sorted(GOOD) and any("c.csv" in note and "it is not clear which" in note for note in texts.notes)


@pytest.mark.parametrize(
    "content",
    [
        {"text": GOOD, "id": list(range(14))}, {"text": {str(n): one for n, one in enumerate(GOOD)}}, {"text": GOOD},
        {"version": 2, "data": [{"text": one} for one in GOOD]}, {"rows": GOOD, "name": "x"},
        {"part": {"items": [{"body": {"text": one, "n": 1}} for one in GOOD]}}, {f"id {n}": {"text": one} for n, one in enumerate(GOOD)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("column", [None, "named"])
def test_a_json_object_of_columns_or_with_rows_inside_is_read(tmp_path, content, indent, column):
    names = {"text": "text", "data": "data.text", "rows": "rows", "part": "part.items.body.text", "id 0": "text"}
    named = next(names[name] for name in content if name in names)
    texts = load(tmp_path, "a.json", json.dumps(content, indent=indent), column=named if column else None)
    assert everything(texts) == sorted(GOOD)


def test_json_lines_and_a_single_value_are_recognised_with_any_suffix(tmp_path):
    rows = [{"text": one} for one in GOOD]
    for name, content in (
        ("a.json", jsonl(rows)),
        ("b.jsonl", json.dumps(rows)),
        ("c.jsonl", json.dumps(rows, indent=1)),
        ("d.json", "{bad\n" + jsonl(rows)),
    ):
        assert everything(load(tmp_path, name, content)) == sorted(GOOD), name


@pytest.mark.parametrize("source", ["A whole text. " * 60, "one\ntwo\nthree", "a\0b"])
def test_a_text_given_instead_of_a_file_is_refused(source):
    with pytest.raises(InputError, match="no file or folder"):
        load_texts(source)
