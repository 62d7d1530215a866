"""Texts of your own: any common file, a folder, a data set, a list; read with its oddities named, cleaned, and split by a hash."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.data.cleaning import fingerprint, has_lost_bytes, has_markup, is_too_short, plain_of_html, tidy
from nbtools.data.columns import Field
from nbtools.data.formats import ENDINGS, TEXT, Reading, Rows, kind_of, read_rows
from nbtools.data.notes import Notes
from nbtools.data.plain import check_unit
from nbtools.errors import CourseError, DataError, InputError, UnreachableError, printable
from nbtools.system import available_memory, hub_state, progress
from nbtools.texts import describe, describe_kind, repair
from nbtools.values import checked

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("train", "validation", "test")
FEWEST = 10  # texts: with fewer, nothing can be held out
SHOWN = 60  # characters of a source that an error quotes
CLEANING = {"none": tidy, "html": plain_of_html}


@dataclass
class OwnTexts:
    """Three parts that share no text.

    train, validation, test   datasets with the columns text (str), key (hash of its words) and place (where it came from)
    counts   texts read, kept, and dropped as empty, too short, with lost bytes, duplicate, or left over by max_texts
    notes    what was odd, a line each, with places
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    counts: dict[str, int]
    source: str
    notes: list[str] = field(default_factory=list)

    def part(self, name: str) -> Dataset:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def __repr__(self) -> str:
        dropped = ", ".join(f"{count:,} {why}" for why, count in self.counts.items() if why not in ("read", "kept") and count)
        lines = [f"Texts from {self.source}", f"  {self.counts['read']:,} read; dropped: {dropped or 'none'}"]
        for name in PARTS:
            texts = self.part(name)["text"]
            lines.append(f"  {name:<10} {len(texts):>6,} texts, {sum(map(len, texts)):>10,} characters")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@checked(seed=(0, 2**63 - 1))
def load_texts(
    source: Any,
    *,
    column: str | None = None,
    encoding: str | None = None,
    unit: str | None = None,
    clean: str = "none",
    max_texts: int | None = None,
    seed: int = 0,
) -> OwnTexts:
    """Read texts, drop what cannot be used and say so, and cut them into train, validation and test (80, 10, 10 %).

    source     a file (.txt, .md, .csv, .tsv, .jsonl, .json, .parquet; also .gz and .xz of these), a folder of such files, a list of
               strings, a `datasets` object, a pandas column or table, or the name of a data set on the Hub ("owner/name", or
               "owner/name:split")
    column     which holds the text, where there are several, or a path into nested objects such as "data.text"; None: found by name, or
               the only one with text in it. A column of conversations ([{"role": …, "content": …}, …]) is read as "role: words"
    encoding   None: by the file's mark, else UTF-8, else Windows-1252, which is said
    unit       what one text is in a plain text file: "line", "paragraph" (up to an empty line) or "document" (the file; a long one in
               pieces that end at empty lines). None: guessed from the file, which is said
    clean      "none": texts stay as they are but for line ends and empty lines around them; "html": plain text is made of HTML, and where
               is noted
    max_texts  keep at most this many, drawn at random from all with `seed`. What is read is never held whole, so a source larger than
               memory can be drawn from (a .json file is the exception)

    The part of a text depends on its words alone. Raises InputError for a source or a column that is not there, DataError for one that
    holds no usable text, UnreachableError where the Hub is needed and cannot be reached.
    """
    if max_texts is not None and (not isinstance(max_texts, int) or isinstance(max_texts, bool) or max_texts < FEWEST):
        raise InputError(f"max_texts is {max_texts!r}.", f"Give a whole number from {FEWEST} on, or None for all.")
    if clean not in CLEANING:
        raise InputError(f"There is no cleaning {clean!r}.", f"Give one of {', '.join(map(repr, CLEANING))}.")
    if column is not None and not (isinstance(column, str) and column):
        raise InputError(
            f"column is {describe(column) if column != '' else 'empty'}.", "Give the name of a column, or None to have it found."
        )
    check_unit(unit)
    notes = Notes()
    rows, words = _rows_of(source, Reading(column, encoding, unit), notes)
    counts = {"read": 0, "kept": 0, "empty": 0, "not text": 0, "too short": 0, "lost bytes": 0, "duplicate": 0, "not drawn": 0}
    kept = _keep(_usable(rows, clean, counts, notes), counts, max_texts, random.Random(seed))
    if len(kept) < FEWEST:
        found = f"{len(kept)} usable text{'s' if len(kept) != 1 else ''} of {counts['read']} read"
        doubt = f"Is one text per {unit} right?" if unit else "Is it the right column?"
        raise DataError(f"{words} holds {found}: too few to hold any out.", f"Give at least {FEWEST}. {' '.join(notes.lines()) or doubt}")
    return OwnTexts(**_split(kept), counts=counts | {"kept": len(kept)}, source=words, notes=notes.lines())


def _usable(rows: Rows, clean: str, counts: dict[str, int], notes: Notes) -> Rows:
    """The texts among `rows`, repaired and cleaned; what is dropped is counted, and what is changed is noted."""
    for place, value in progress(rows, "reading", unit="text"):
        counts["read"] += 1
        if value is None or (isinstance(value, str) and not value.strip()):
            counts["empty"] += 1
            notes.add("rows without a text", place)
            continue
        if not isinstance(value, str):
            counts["not text"] += 1
            notes.add(f"rows that hold {describe_kind(value)} and no text", place)
            continue
        if has_lost_bytes(value):
            counts["lost bytes"] += 1
            notes.add("texts with lost bytes (U+FFFD or zero)", place)
            continue
        repaired = repair(value)
        if repaired != value:
            notes.add("texts with half of a character (a lone surrogate), now U+FFFD", place)
        text = CLEANING[clean](repaired)
        if clean == "html" and text != tidy(repaired):
            notes.add("texts that were changed into plain text (clean='html')", place)
        elif clean == "none" and has_markup(text):
            notes.add("texts with HTML in them, kept as they are (clean='html' makes plain text of it)", place)
        if is_too_short(text):
            counts["too short"] += 1
            notes.add("texts of a single word or none", place)
            continue
        yield place, text


def _keep(rows: Rows, counts: dict[str, int], most: int | None, dice: random.Random) -> dict[int, tuple[str, str]]:
    """The usable texts by the hash of their words: all, or a sample of `most` in which each has the same chance (Vitter, 1985)."""
    kept: dict[int, tuple[str, str]] = {}
    order: list[int] = []
    seen: set[int] = set()
    size, room = 0, available_memory() // 8  # characters; the data set is made of copies of them, up to four bytes each
    for place, text in rows:
        if (key := fingerprint(text)) in seen:
            counts["duplicate"] += 1
        else:
            seen.add(key)
            if most is None or len(order) < most:
                order.append(key)
                kept[key] = text, place
                size += len(text)
                if size > room:
                    remedy = f"Draw some: max_texts={max(FEWEST, len(order) // 4)} would fit."
                    raise DataError(f"The texts are too much for this machine's memory, from {place} on.", remedy)
            else:
                counts["not drawn"] += 1
                if (at := dice.randrange(len(seen))) < most:
                    del kept[order[at]]
                    order[at] = key
                    kept[key] = text, place
    return kept


def _split(kept: Mapping[int, tuple[str, str]]) -> dict[str, Dataset]:
    """By the last digit of the hash, as the reviews are; a part that would be empty takes the first of the training texts."""
    from datasets import Dataset

    parts: dict[str, list[dict[str, str]]] = {name: [] for name in PARTS}
    for key in sorted(kept):
        text, place = kept[key]
        parts[{0: "test", 1: "validation"}.get(key % 10, "train")].append({"text": text, "key": f"{key:016x}", "place": printable(place)})
    for name in ("validation", "test"):
        if not parts[name]:
            parts[name].append(parts["train"].pop(0))
    return {name: Dataset.from_list(rows) for name, rows in parts.items()}


def _rows_of(source: Any, reading: Reading, notes: Notes) -> tuple[Rows, str]:
    """An iterator over the rows of whatever `source` is, and its name in words."""
    if isinstance(source, (str, Path)):
        try:
            path = Path(source).expanduser()
            is_folder, is_file = bool(str(source)) and path.is_dir(), path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long for a name, a zero byte in it, no such home
            is_folder = is_file = False
        if is_folder:
            return _folder(path, reading, notes), f"the folder {printable(path.resolve().name)}"
        if is_file:
            if reading.unit and kind_of(path) not in TEXT:
                raise InputError(f"unit={reading.unit!r} is for plain text files, and {path.name} has rows.", "Leave it out.")
            if reading.column and kind_of(path) in TEXT:
                raise InputError(f"column={reading.column!r} is for tables, and {path.name} is plain text.", "Leave it out.")
            return read_rows(path, reading, notes), printable(path.name)
        if isinstance(source, str) and _is_hub_name(source):
            return _hub(source, reading.column, notes)
        shown = f"{str(source)[:SHOWN]}…" if len(str(source)) > SHOWN else source
        remedy = "Check the path; a data set on the Hub is named owner/name, and texts themselves are given as a list of strings."
        raise InputError(f"There is no file or folder {shown}.", remedy)
    if reading.unit:
        raise InputError(f"unit={reading.unit!r} is for plain text files, and this is {describe(source)}.", "Leave it out.")
    if hasattr(source, "keys") and not hasattr(source, "column_names") and not hasattr(source, "to_dict"):
        raise InputError("A mapping is no source of texts.", "Give a list of strings, a file, or one of its columns.")
    if isinstance(getattr(source, "column_names", None), dict):
        raise InputError(f"This data set has parts: {', '.join(source.column_names)}.", "Give one of them, such as dataset['train'].")
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        source = source.to_dict("records")
    elif hasattr(source, "tolist"):
        source = source.tolist()
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise InputError(f"A {type(source).__name__} is no source of texts.", "Give a file, a folder, a list of strings or a data set.")
    return _items(source, reading.column, "the data set" if hasattr(source, "column_names") else "the list", notes), "what was given"


def _items(items: Iterable[Any], column: str | None, where: str, notes: Notes) -> Rows:
    field = Field(column, where, notes)
    for number, value in enumerate(items, 1):
        yield f"item {number}", field.of(value, f"item {number}")


def _folder(folder: Path, reading: Reading, notes: Notes) -> Rows:
    """All files below a folder that can be read; others, and those that turn out to be no text, are noted."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not any(part.startswith(".") for part in file.parts[-2:]))
    kinds: dict[Path, str] = {}
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):  # it could be anything of the person's own, and end in a model
            notes.add("links that lead out of the folder, left out", file.name)
            continue
        try:
            kinds[file] = kind_of(file)
        except InputError:
            notes.add("files of other kinds, left out", file.name)
    if not kinds:
        raise InputError(f"The folder {folder} holds no file that can be read.", f"Give one with files such as {', '.join(ENDINGS)}.")
    if reading.unit is None and sum(kind in TEXT for kind in kinds.values()) >= FEWEST:
        reading = replace(reading, unit="document")  # each file is a text
        notes.remark("text files read as one text each, a long one in pieces (unit='line' or 'paragraph' reads them otherwise)")
    for file in kinds:
        name = str(file.relative_to(folder))
        try:
            for place, value in read_rows(file, reading, notes):
                yield f"{name}, {place}", value
        except CourseError as error:
            notes.add("files that could not be read", f"{name} ({error.problem} {error.remedy})")


def _is_hub_name(name: str) -> bool:
    owner, slash, rest = name.partition("/")
    plain = name.partition(":")[0]
    return bool(slash and owner and rest) and plain.count("/") == 1 and not plain.startswith((".", "/", "~")) and not Path(plain).suffix


def _hub(name: str, column: str | None, notes: Notes) -> tuple[Rows, str]:
    """A data set of the Hub, streamed: no more is downloaded than is read."""
    import datasets

    plain, _, split = name.partition(":")
    if hub_state() == "unreachable":
        raise UnreachableError(
            f"{plain} would be on the Hugging Face Hub, and the Hub cannot be reached.", "Give a file or a folder instead."
        )
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(plain, split=split or "train", streaming=True)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreachableError(
            f"The Hugging Face Hub does not give {name}: {first}", "Check the name, as owner/name or owner/name:split."
        ) from None
    return _items(found, column, plain, notes), f"the Hugging Face Hub, {name}"
