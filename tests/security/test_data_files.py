"""A data set made by an attacker: bombs are refused while they are small, links lead nowhere, and nothing in it becomes a formula."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from nbtools.data import formats, json_files, load_texts, own, plain, tables
from nbtools.errors import DataError, InputError
from tests.security.hostile import controls

LINE = 64_000_000  # characters that each bomb unpacks to, at the least
MOST = 60_000_000  # bytes of Python's memory while one is refused; the limit of a line itself is a quarter of LINE
PIECE = b"a b " * (1 << 18)


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """The most that Python's objects held since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def bomb(path: Path, before: bytes, after: bytes = b"", piece: bytes = PIECE) -> Path:
    opener = gzip.open if path.suffix == ".gz" else lzma.open
    with opener(path, "wb") as file:
        file.write(before)
        for _ in range(LINE // len(piece) + 1):
            file.write(piece)
        file.write(after)
    assert path.stat().st_size < 200_000
    tracemalloc.reset_peak()  # a compressor holds much itself
    return path


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("b.jsonl.gz", b'{"text": "', b'"}\n'), ("b.csv.gz", b'text\n"', b'"\n'), ("b.txt.gz", b"", b""), ("b.csv.xz", b"text\n", b"\n")],
)
def test_a_line_that_unpacks_without_end_is_refused_before_it_is_held(
    name: str, before: bytes, after: bytes, tmp_path: Path, memory: Callable[[], int]
) -> None:
    """600 kB of gzip held eight GB, and a minute, before."""
    path = bomb(tmp_path / name, before, after)
    with pytest.raises(DataError, match="16,000,000 characters"):
        load_texts(path, max_texts=20)
    assert memory() < MOST


def test_many_lines_in_one_quoted_field_are_refused_too(tmp_path: Path, memory: Callable[[], int]) -> None:
    path = bomb(tmp_path / "b.csv.gz", b'text\n"', b'"\n', piece=(b"a b " * 1_000 + b"\n") * 64)
    with pytest.raises(DataError, match="field larger than field limit"):
        load_texts(path, max_texts=20)
    assert memory() < 2 * MOST


def test_lines_of_text_without_an_empty_one_come_in_pieces(
    tmp_path: Path, memory: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "MAX_LINE_LENGTH", 1_000_000)
    path = bomb(tmp_path / "b.txt.gz", b"", piece=(b"a b " * 1_000 + b"\n") * 64)
    pieces = [len(text) for _, text in formats.read_rows(path, formats.ReadOptions(), formats.Notes())]
    assert max(pieces) <= 1_000_000 and sum(pieces) >= LINE and memory() < MOST


def test_an_array_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, memory: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "available_memory", lambda: 5_000_000 * json_files.BYTES_PER_CHARACTER)
    path = bomb(tmp_path / "b.json.gz", b"[", b'""]', piece=b'"",' * (1 << 18))
    with pytest.raises(DataError, match=r"too large for this machine.s memory") as caught:
        load_texts(path)
    assert ".jsonl" in caught.value.remedy and memory() < 2 * MOST


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"9" * 10_000 + b"]"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_nested_without_end_is_one_line_of_complaint(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, InputError)) as caught:
        load_texts(tmp_path / name)
    assert "\n" not in caught.value.problem


@pytest.mark.slow(7)
def test_a_parquet_value_that_many_rows_share_is_not_unpacked_for_each(tmp_path: Path, memory: Callable[[], int]) -> None:
    """1.5 kB of Parquet meant 3,000 rows of ten MB each, a thousand of them at a time."""
    text = "a b " * 250_000
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 3_000), pyarrow.array([text]))
    parquet.write_table(pyarrow.table({"text": shared}), tmp_path / "b.parquet", compression="zstd")
    assert (tmp_path / "b.parquet").stat().st_size < 5_000
    rows = sum(len(value) == len(text) for _, value in formats.read_rows(tmp_path / "b.parquet", formats.ReadOptions(), formats.Notes()))
    assert rows == 3_000 and memory() < MOST
    assert pyarrow.total_allocated_bytes() < 200e6


def test_a_parquet_column_that_unpacks_to_more_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(pyarrow.table({"text": ["a b " * 1_000_000] * 2}), tmp_path / "b.parquet", compression="zstd", use_dictionary=False)
    monkeypatch.setattr(tables, "available_memory", lambda: 10_000_000)
    with pytest.raises(DataError, match="at a time"):
        load_texts(tmp_path / "b.parquet")


def test_texts_that_memory_cannot_hold_are_refused_with_a_number_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.dumps({"text": f"a film numbered {number} that was long"}) for number in range(400)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr(own, "available_memory", lambda: 8 * 4_000)
    with pytest.raises(DataError, match="do not fit into this machine's memory") as caught:
        load_texts(tmp_path / "a.jsonl")
    assert "max_texts=" in caught.value.remedy
    assert load_texts(tmp_path / "a.jsonl", max_texts=int(caught.value.remedy.split("max_texts=")[1].split()[0])).counts["kept"] > 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    rows = [json.dumps({"text": f"a film numbered {number} that I liked"}) for number in range(40)]
    (place / "good.jsonl").write_text("\n".join(rows), encoding="utf8")
    return place


def test_a_link_in_a_folder_of_data_brings_no_private_file_into_the_texts(folder: Path, tmp_path: Path) -> None:
    """A folder from elsewhere with a link to a file of the person's own would have put it into the training texts."""
    (tmp_path / "private.txt").write_text("my own private words, for nobody else to read")
    (folder / "notes.txt").symlink_to("../private.txt")
    (folder / "sub").symlink_to(tmp_path)
    texts = load_texts(folder)
    found = [text for part in own.PARTS for text in texts.part(part)["text"]]
    assert len(found) == 40 and not any("private" in text for text in found)
    assert any(note.startswith("links that lead out of the folder, left out: 1 (notes.txt)") for note in texts.notes)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_among_the_files_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    assert load_texts(folder).counts["kept"] == 40
    with pytest.raises(InputError, match="no file or folder"):
        load_texts(folder / "pipe.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_hostile_names_and_texts_of_a_data_set_come_back_as_they_are_and_are_shown_as_text(folder: Path) -> None:
    name = "\x1b[2J\u202e <script>{0}.weird"
    (folder / name).write_text("x")
    hostile = "{0.__class__.__mro__} %s %(x)n ${HOME} {{7*7}} <script>alert(1)</script> [/bold] =1+1"
    (folder / "hostile.txt").write_text(hostile, "utf8")
    texts = load_texts(folder)
    assert controls("\n".join(texts.notes)) == [] and "<U+001B>[2J<U+202E>" in "\n".join(texts.notes)
    found = [text for part in own.PARTS for text in texts.part(part)["text"]]
    assert hostile in found


def test_a_data_set_with_code_of_its_own_is_not_run(folder: Path, tmp_path: Path) -> None:
    """`datasets` once ran NAME/NAME.py; the release that is asked for here reads data only."""
    (folder / "data.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    assert load_texts(folder).counts["kept"] == 40
    assert not (tmp_path / "ran").exists()


FORMULAS = ['=HYPERLINK("http://evil.example")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]


def test_no_text_in_the_table_of_a_sweep_is_a_formula_to_a_spreadsheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas

    from nbtools.runs import results

    table = pandas.DataFrame({"run": ["a"] * 6, "state": ["done"] * 6, "word": FORMULAS, "=2+5": [1] * 6, "value": [-1.5] * 6})
    monkeypatch.setattr(results, "read_table", lambda folder: table)
    results.write_tables(tmp_path)
    with (tmp_path / "tables" / "runs.csv").open(encoding="utf8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head[3] == "'=2+5" and [row[2] for row in rows] == [f"'{text}" for text in FORMULAS]
    assert [row[4] for row in rows] == ["-1.5"] * 6, "numbers stay numbers"
    assert parquet.read_table(tmp_path / "tables" / "runs.parquet")["word"].to_pylist() == FORMULAS, "this one is exact"


def test_a_hostile_file_of_progress_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    """A teacher's table is made of files that people send; a count that was text ended it with an error of Python's."""
    from nbtools.cli.progress_tables import write_csv
    from nbtools.exercises.progress import find_files, roll_up

    entry = {"tries": 2, "hints": 0, "solved": "=1+1"}
    for name, content in {"good": entry, "text": {**entry, "tries": "x"}, "list": {**entry, "hints": []}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"schema": 1, "name": f"={name}", "exercises": {"01-a": content}}))
    people, problems = roll_up(find_files([tmp_path]))
    assert list(people) == ["=good"] and len(problems) == 2 and all("is not a progress file" in line for line in problems)
    assert "'=good,01-a,2,0,'=1+1" in write_csv(people, tmp_path / "table.csv").read_text(encoding="utf8")


def test_a_model_named_by_dots_is_not_written_over_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model loaded as "." was to be saved as the folder of all tuned models, and one loaded as ".." as the folder above it."""
    from nbtools.training.checkpoints import output_folder

    monkeypatch.setenv("NBTOOLS_RUNS", str(tmp_path / "runs"))
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    tuned = tmp_path / "runs" / "tuned"
    for here, name, expected in (
        ("mine", ".", "mine"),
        ("mine/sub", "..", "mine"),
        ("mine", "a/b", "b"),
        ("mine", "../mine/", "mine"),
        ("mine", "/", "model"),
    ):
        monkeypatch.chdir(tmp_path / here)
        assert output_folder(name, None) == tuned / expected
