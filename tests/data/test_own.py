"""Your own texts: every supported format is read, and an unusable file gives an error of two lines and is not changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import subprocess
import sys

import pytest

from nbtools.data import load_texts
from nbtools.errors import CourseError, DataError, InputError, UnreachableError

GOOD = [f"This is the text number {number}, and it says something of its own." for number in range(40)]


def csv_of(rows, header="id,text"):
    return "\n".join([header, *rows]) + "\n"


def good_csv(count=40):
    return csv_of([f'{number},"{text}"' for number, text in enumerate(GOOD[:count])])


def write_parquet(path, table):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(table), path)


def everything(texts):
    return sorted(text for name in ("train", "validation", "test") for text in texts.part(name)["text"])


def jsonl(values):
    return "".join(json.dumps(value) + "\n" for value in values)


GOOD_FILES = {
    "a.csv": good_csv(),
    "b.tsv": csv_of([f"{number}\t{text}" for number, text in enumerate(GOOD)], "id\ttext"),
    "c.csv": csv_of([f"{number};{text}" for number, text in enumerate(GOOD)], "id;text"),
    "d.jsonl": jsonl({"text": text, "id": 1} for text in GOOD),
    "e.jsonl": jsonl(GOOD),
    "f.json": json.dumps([{"review": text} for text in GOOD]),
    "g.json": jsonl({"body": text} for text in GOOD),
    "h.csv": csv_of([f"{number},{text.replace(',', '')}," for number, text in enumerate(GOOD)], "id,words of theirs,empty"),
}


@pytest.mark.parametrize("name", GOOD_FILES)
@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_each_kind_of_file_gives_the_same_texts(tmp_path, name, packing):
    path = tmp_path / (name + packing)
    opener = {"": open, ".gz": gzip.open, ".xz": lzma.open}[packing]
    with opener(path, "wb") as file:
        file.write(GOOD_FILES[name].encode())
    texts = load_texts(path)
    wanted = [text.replace(",", "") for text in GOOD] if name == "h.csv" else GOOD
    assert everything(texts) == sorted(wanted) and texts.counts["read"] == texts.counts["kept"] == 40 and not texts.notes
    assert min(len(texts.part(name)) for name in ("train", "validation", "test")) >= 1


def test_parquet_lists_data_sets_and_pandas_give_the_same_texts(tmp_path):
    import pandas
    from datasets import Dataset

    write_parquet(tmp_path / "a.parquet", {"text": GOOD, "id": list(range(40))})
    table = pandas.DataFrame({"text": GOOD, "id": range(40)})
    for source in (tmp_path / "a.parquet", GOOD, tuple(GOOD), Dataset.from_dict({"text": GOOD}), table, table["text"], iter(GOOD)):
        assert everything(load_texts(source)) == sorted(GOOD)


def test_all_files_of_a_folder_are_read_and_those_without_text_are_noted(tmp_path):
    (tmp_path / "sub").mkdir()
    for number, text in enumerate(GOOD):
        (tmp_path / ("sub" if number % 2 else ".") / f"{number}.txt").write_text(text)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "not really.txt").write_bytes(b"%PDF-1.7")
    texts = load_texts(tmp_path)
    assert everything(texts) == sorted(GOOD)
    assert "files of other kinds, left out: 1 (picture.png)" in texts.notes
    assert any("not really.txt" in note and "is a PDF" in note for note in texts.notes)


def test_a_long_text_file_is_split_at_empty_lines(tmp_path):
    paragraphs = [f"Paragraph {number}. " + "It goes on and on about nothing. " * 20 for number in range(60)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    texts = load_texts(tmp_path / "book.txt", unit="document")
    assert 10 <= texts.counts["kept"] <= 20
    assert "".join(everything(texts)).count("Paragraph") == 60


def test_the_part_of_a_text_depends_on_its_words_alone(tmp_path):
    first = load_texts(GOOD)
    second = load_texts([f"  {text} " for text in reversed(GOOD)])
    for name in ("train", "validation", "test"):
        assert sorted(first.part(name)["key"]) == sorted(second.part(name)["key"])


def test_a_random_draw_is_uniform_and_reproducible(tmp_path):
    (tmp_path / "many.jsonl").write_text(jsonl(f"Number {number} of very many texts." for number in range(3_000)))
    one, same, other = (load_texts(tmp_path / "many.jsonl", max_texts=300, seed=seed) for seed in (0, 0, 1))
    assert everything(one) == everything(same) != everything(other)
    assert one.counts["kept"] == 300 and one.counts["not drawn"] == 2_700
    numbers = [int(text.split()[1]) for text in everything(one)]
    assert 1_300 < sum(numbers) / 300 < 1_700  # from all over the file, not from its beginning


READ_A_LARGE_FILE = """
import sys
from nbtools.data import load_texts
from nbtools.system import peak_memory

load_texts(sys.argv[1], max_texts=100)  # load the libraries first, so that their memory is not counted
before = peak_memory()
texts = load_texts(sys.argv[2], max_texts=100)
print(texts.counts["read"], peak_memory() - before)
"""


@pytest.mark.slow(30)
def test_a_large_file_is_read_in_less_memory_than_its_size(tmp_path):
    for name, count in (("small.jsonl", 500), ("large.jsonl", 20_000)):
        with (tmp_path / name).open("w") as file:
            for number in range(count):
                file.write(json.dumps({"text": f"Text {number} " + "and so it goes on " * 200}) + "\n")
    command = [sys.executable, "-c", READ_A_LARGE_FILE, str(tmp_path / "small.jsonl"), str(tmp_path / "large.jsonl")]
    read, more = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert read == 20_000 and more < (tmp_path / "large.jsonl").stat().st_size / 4


def test_unusual_rows_are_dropped_and_noted_with_their_lines(tmp_path):
    rows = [f"{number},{text.replace(',', '')}" for number, text in enumerate(GOOD)]
    rows[3] = "3"  # line 5
    rows[6] = "6,"  # line 8
    rows[9] = "9,no"  # line 11
    rows[12] = rows[11].replace("11,", "12,")
    rows[20] = '20,"two\nlines here, quite a few words"'  # lines 22 and 23
    rows[30] = "30,a,b"  # line 33: one further down
    (tmp_path / "odd.csv").write_text(csv_of(rows))
    texts = load_texts(tmp_path / "odd.csv")
    notes = "\n".join(texts.notes)
    assert "rows that do not have 2 fields like the first line: 2 (line 5, line 33)" in notes
    assert "rows without a text: 1 (line 8)" in notes and "texts of a single word or less: 1 (line 11)" in notes
    assert texts.counts == {
        "read": 38, "kept": 35, "empty": 1, "not text": 0, "too short": 1, "lost bytes": 0, "duplicate": 1, "not drawn": 0,
    }  # fmt: skip
    assert "35" not in repr(texts).splitlines()[1] and "note: rows that do not have" in repr(texts)


def test_an_old_encoding_is_detected_and_noted(tmp_path):
    rows = [text.replace("something", "déjà vu “so”") for text in GOOD]
    (tmp_path / "old.txt").write_bytes("\n\n".join(text + " x" * 1_000 for text in rows).encode("cp1252"))
    texts = load_texts(tmp_path / "old.txt", unit="paragraph")
    assert "déjà vu “so”" in "".join(everything(texts))
    assert texts.notes == ["files not in UTF-8, read as Windows-1252: 1 (old.txt, line 1)"]
    (tmp_path / "wide.csv").write_bytes(good_csv().encode("utf-16"))
    assert everything(load_texts(tmp_path / "wide.csv")) == sorted(GOOD)
    (tmp_path / "given.txt").write_bytes("\n\n".join(text + " é" * 1_000 for text in GOOD).encode("latin-1"))
    assert "é é" in everything(load_texts(tmp_path / "given.txt", encoding="latin-1"))[0]


def test_markup_is_cleaned_on_request_and_duplicates_are_kept_once():
    texts = load_texts([*GOOD, *[text.replace(" ", "  ") for text in GOOD], "A line<br />and &quot;another&quot; line."], clean="html")
    assert texts.counts["duplicate"] == 40 and 'A line\nand "another" line.' in everything(texts)


BAD = {
    # name: (file name, content, keywords, words in the error)
    "missing": (None, None, {}, "There is no file or folder"),
    "empty file": ("a.txt", b"", {}, "is empty"),
    "empty csv": ("a.csv", b"", {}, "is empty"),
    "empty jsonl": ("a.jsonl", b"", {}, "is empty"),
    "empty parquet": ("a.parquet", b"", {}, "is empty"),
    "only spaces": ("a.txt", b"  \n \n\n", {}, "0 usable texts"),
    "one word": ("a.txt", b"hello", {}, "too few"),
    "a byte": ("a.txt", b"\xff", {}, "too few"),
    "nine texts": ("a.csv", good_csv(9).encode(), {}, "9 usable texts of 9 read"),
    "one text again and again": ("a.jsonl", jsonl(GOOD[:1] * 500).encode(), {}, "1 usable text of 500 read"),
    "one text in other spacing": ("a.jsonl", jsonl([f"{' ' * n}{GOOD[0]}" for n in range(50)]).encode(), {}, "1 usable text of 50"),
    "header only": ("a.csv", b"id,text\n", {}, "0 usable texts of 0 read"),
    "header without line end": ("a.csv", b"id,text", {}, "0 usable texts of 0 read"),
    "pdf": ("a.txt", b"%PDF-1.7 and so on", {}, "is a PDF"),
    "zip as csv": ("a.csv", b"PK\x03\x04....", {}, "ZIP archive"),
    "word": ("a.docx", b"PK\x03\x04....", {}, "not a kind of file"),
    "excel": ("a.xlsx", b"PK\x03\x04....", {}, "not a kind of file"),
    "picture": ("a.png", b"\x89PNG", {}, "not a kind of file"),
    "picture as text": ("a.txt", b"\x89PNG\r\n\x1a\n", {}, "PNG picture"),
    "jpeg as text": ("a.md", b"\xff\xd8\xff\xe0", {}, "JPEG picture"),
    "program": ("a.txt", b"\x7fELF\x02", {}, "is a program"),
    "model as text": ("a.txt", b"GGUF\x03", {}, "GGUF model"),
    "database": ("a.csv", b"SQLite format 3\0", {}, "SQLite database"),
    "zeros": ("a.txt", bytes(5_000), {}, "is binary"),
    "zeros inside": ("a.jsonl", b'{"text": "good"}\n\0\0\0\n', {}, "is binary"),
    "utf-16 without its mark": ("a.txt", "Some text here".encode("utf-16-le"), {}, "is binary"),
    "no ending": ("texts", b"some text", {}, "not a kind of file"),
    "an unknown ending": ("a.xyz", b"some text", {}, "not a kind of file"),
    "only gz": ("a.gz", gzip.compress(b"some text"), {}, "not a kind of file"),
    "not really gz": ("a.txt.gz", b"this is plain text", {}, "cannot be unpacked"),
    "not really xz": ("a.csv.xz", b"this is plain text", {}, "cannot be unpacked"),
    "gz cut off": ("a.jsonl.gz", gzip.compress(jsonl(GOOD * 99).encode())[:-30], {}, "cannot be unpacked"),
    "xz cut off": ("a.jsonl.xz", lzma.compress(jsonl(GOOD).encode())[:-20], {}, "cannot be unpacked"),
    "not really parquet": ("a.parquet", b"PAR1 is what it begins with", {}, "not a complete Parquet file"),
    "plain text as parquet": ("a.parquet", b"text\nhello\n", {}, "not a complete Parquet file"),
    "csv as jsonl": ("a.jsonl", good_csv().encode(), {}, "no line of it is JSON"),
    "broken json": ("a.json", b'[{"text": "one two three"}, {"text": ', {}, "is not valid JSON"),
    "json that is a number": ("a.json", b"42", {}, "0 usable texts of 1"),
    "json that is one object": ("a.json", b'{"text": "only one text here"}', {}, "1 usable text of 1"),
    "json of numbers": ("a.jsonl", jsonl(range(50)).encode(), {}, "rows that hold an int instead of text"),
    "json of lists": ("a.jsonl", jsonl([[1, 2]] * 50).encode(), {}, "rows that hold a list instead of text"),
    "json of nulls": ("a.jsonl", jsonl([None] * 50).encode(), {}, "rows without a text"),
    "deep json": ("a.json", b"[" * 100_000, {}, "is not valid JSON"),
    "deep jsonl": ("a.jsonl", b"[" * 100_000 + b"\n", {}, "no line of it is JSON"),
    "no such column": ("a.csv", good_csv().encode(), {"column": "tekst"}, "has no column 'tekst'"),
    "no such field": ("a.jsonl", jsonl({"text": one} for one in GOOD).encode(), {"column": "words"}, "has no column 'words'"),
    "two columns of text": ("a.csv", csv_of(["one two three,four five six"] * 20, "a,b").encode(), {}, "it is not clear which"),
    "columns of numbers": ("a.csv", csv_of([f"{n},{n}" for n in range(50)], "a,b").encode(), {}, "it is not clear which"),
    "the same column twice": ("a.csv", csv_of(["1,2"] * 20, "text,text").encode(), {}, "same name"),
    "another number of fields": ("a.csv", csv_of(["1,2,3,4,5 six seven"] * 50).encode(), {}, "do not have 2 fields"),
    "an open quotation": ("a.csv", csv_of(['1,"it never ends'] + [f"{n},{n}" for n in range(50)]).encode(), {}, "never closed"),
    "no such encoding": ("a.txt", b"some text here", {"encoding": "utf-99"}, "no encoding 'utf-99'"),
    "the wrong encoding": ("a.csv", good_csv().replace("text number", "téxt").encode("latin-1"), {"encoding": "utf-8"}, "lost bytes"),
    "noise": ("a.txt", bytes(range(1, 32)) * 200, {}, "too few"),
    "half a draw": ("a.csv", good_csv().encode(), {"max_texts": 20.5}, "not a whole number"),
    "a small draw": ("a.csv", good_csv().encode(), {"max_texts": 3}, "max_texts is 3"),
    "a true draw": ("a.csv", good_csv().encode(), {"max_texts": True}, "not a whole number"),
    "markup without words": ("a.jsonl", jsonl(["<br /><br />"] * 50).encode(), {}, "too few"),
    "one very long line without a space": ("a.txt", b"x" * 200_000, {}, "too few"),
    "only figures": ("a.txt", b"1 2 3 4 5\n\n" * 2_000, {}, "too few"),
}  # fmt: skip


def two_lines(error: CourseError) -> str:
    for line in (error.problem, error.remedy):
        assert line and "\n" not in line and "Traceback" not in line and len(line) < 600, line
    return str(error)


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_file_gives_two_lines_and_is_not_changed(tmp_path, name):
    file, content, keywords, words = BAD[name]
    path = tmp_path / (file or "nowhere.txt")
    if content is not None:
        path.write_bytes(content)
    before = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.iterdir()}
    with pytest.raises((InputError, DataError)) as raised:
        load_texts(path, **keywords)
    assert words in two_lines(raised.value)
    assert {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.iterdir()} == before


def test_sixty_bad_inputs_are_tried():
    assert len(BAD) >= 60


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "0 usable texts"), ([1, 2, 3] * 10, "instead of text"), ({"text": GOOD}, "a mapping"), (7, "from an int"),
        (None, "from a NoneType"),
        (b"bytes", "from a bytes"),
        ([None] * 30, "0 usable"), (GOOD[:5], "5 usable"), ("", "no file or folder"), ("/nowhere/at/all", "no file or folder"),
        ([b"bytes"] * 20, "hold a bytes"), ("what is this", "no file or folder"),
    ],
)  # fmt: skip
def test_unusable_objects_give_two_lines_too(source, words):
    with pytest.raises((InputError, DataError)) as raised:
        load_texts(source)
    assert words in two_lines(raised.value)


def test_a_data_set_needs_one_part_and_an_unambiguous_column():
    from datasets import Dataset, DatasetDict

    parts = DatasetDict({"train": Dataset.from_dict({"text": GOOD})})
    with pytest.raises(InputError, match="has parts: train"):
        load_texts(parts)
    with pytest.raises(InputError, match="several columns"):
        load_texts(Dataset.from_dict({"a": GOOD, "b": GOOD}))
    assert everything(load_texts(Dataset.from_dict({"a": GOOD, "b": GOOD}), column="b")) == sorted(GOOD)


def test_an_empty_folder_and_one_without_texts(tmp_path):
    with pytest.raises(InputError, match="no file that can be read"):
        load_texts(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="no file that can be read"):
        load_texts(tmp_path)


def test_a_name_on_the_hub_without_the_hub():
    with pytest.raises(UnreachableError) as raised:
        load_texts("owner/name:train")
    assert "owner/name" in two_lines(raised.value)


def test_a_tiny_set_still_has_three_parts():
    for count in range(10, 16):
        texts = load_texts(GOOD[:count])
        assert all(len(texts.part(name)) >= 1 for name in ("train", "validation", "test"))
        assert len(everything(texts)) == count
