"""Texts of your own: any common file, a folder, a data set, a list; read with its oddities named, cleaned, and split by a hash."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.data.cleaning import clean, fingerprint, is_broken
from nbtools.data.formats import COMPRESSED, ENDINGS, Field, Notes, Rows, read_rows
from nbtools.errors import DataError, InputError, UnreachableError
from nbtools.runtime import available_memory, hub_state, progress

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("train", "validation", "test")
FEWEST = 10  # texts: with fewer, nothing can be held out


@dataclass
class OwnTexts:
    """Three parts that share no text.

    train, validation, test   datasets with the columns text (str), key (hash of its words) and place (where it came from)
    counts   texts read, kept, and dropped as empty, too short or broken, duplicate, or left over by max_texts
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


def load_texts(
    source: Any, *, column: str | None = None, encoding: str | None = None, max_texts: int | None = None, seed: int = 0
) -> OwnTexts:
    """Read texts, drop what cannot be used and say so, and cut them into train, validation and test (80, 10, 10 %).

    source     a file (.txt, .md, .csv, .tsv, .jsonl, .json, .parquet; also .gz and .xz of these), a folder of such files, a list of
               strings, a `datasets` object, a pandas column or table, or the name of a data set on the Hub ("owner/name", or
               "owner/name:split")
    column     which holds the text, where there are several; None: found by name, or the only one with text in it
    encoding   None: by the file's mark, else UTF-8, else Windows-1252, which is said
    max_texts  keep at most so many, drawn at random from all with `seed`. What is read is never held whole, so a source larger than memory
               can be drawn from (a .json array is the exception)

    The part of a text depends on its words alone. Raises InputError for a source or a column that is not there, DataError for one that
    holds no usable text, UnreachableError where the Hub is needed and cannot be reached.
    """
    if max_texts is not None and (not isinstance(max_texts, int) or isinstance(max_texts, bool) or max_texts < FEWEST):
        raise InputError(f"max_texts is {max_texts!r}.", f"Give a whole number from {FEWEST} on, or None for all.")
    notes = Notes()
    rows, words = _rows_of(source, column, encoding, notes)
    counts = {"read": 0, "kept": 0, "empty": 0, "not text": 0, "too short or broken": 0, "duplicate": 0, "not drawn": 0}
    kept = _keep(rows, counts, notes, max_texts, random.Random(seed))
    if len(kept) < FEWEST:
        found = f"{len(kept)} usable text{'s' if len(kept) != 1 else ''} of {counts['read']} read"
        raise DataError(
            f"{words} holds {found}: too few to hold any out.",
            f"Give at least {FEWEST}. {' '.join(notes.lines()) or 'Is it the right column?'}",
        )
    return OwnTexts(**_split(kept), counts=counts | {"kept": len(kept)}, source=words, notes=notes.lines())


def _keep(rows: Rows, counts: dict[str, int], notes: Notes, most: int | None, dice: random.Random) -> dict[int, tuple[str, str]]:
    """The usable texts by the hash of their words: all, or a sample of `most` in which each has the same chance (Vitter, 1985)."""
    kept: dict[int, tuple[str, str]] = {}
    order: list[int] = []
    seen: set[int] = set()
    size, room = 0, available_memory() // 8  # characters; the data set is made of copies of them, up to four bytes each
    for place, value in progress(rows, "reading", unit="text"):
        counts["read"] += 1
        if value is None or (isinstance(value, str) and not value.strip()):
            counts["empty"] += 1
            notes.add("rows without a text", place)
        elif not isinstance(value, str):
            counts["not text"] += 1
            notes.add(f"rows that hold a {type(value).__name__} and no text", place)
        elif is_broken(text := clean(value), 0):
            counts["too short or broken"] += 1
            notes.add("rows with fewer than three words, or with lost bytes", place)
        elif (key := fingerprint(text)) in seen:
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
        parts[{0: "test", 1: "validation"}.get(key % 10, "train")].append({"text": text, "key": f"{key:016x}", "place": place})
    for name in ("validation", "test"):
        if not parts[name]:
            parts[name].append(parts["train"].pop(0))
    return {name: Dataset.from_list(rows) for name, rows in parts.items()}


def _rows_of(source: Any, column: str | None, encoding: str | None, notes: Notes) -> tuple[Rows, str]:
    """An iterator over the rows of whatever `source` is, and its name in words."""
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if str(source) and path.is_dir():
            return _folder(path, column, encoding, notes), f"the folder {path.name}"
        if path.is_file():
            return read_rows(path, column, encoding, notes), path.name
        if isinstance(source, str) and _is_hub_name(source):
            return _hub(source, column)
        raise InputError(f"There is no file or folder {source}.", "Check the path; a data set on the Hub is named owner/name.")
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
    return _items(source, column, "the data set" if hasattr(source, "column_names") else "the list"), "what was given"


def _items(items: Iterable[Any], column: str | None, where: str) -> Rows:
    found = Field(column, where)
    for number, value in enumerate(items, 1):
        yield f"item {number}", found.of(value)


def _folder(folder: Path, column: str | None, encoding: str | None, notes: Notes) -> Rows:
    """All files below a folder that can be read; others, and those that turn out to be no text, are noted."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not any(part.startswith(".") for part in file.parts[-2:]))
    readable = []
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):  # it could be anything of the person's own, and end in a model
            notes.add("links that lead out of the folder, left out", file.name)
            continue
        ending = Path(file.stem).suffix if file.suffix.lower() in COMPRESSED else file.suffix
        if ending.lower() in ENDINGS:
            readable.append(file)
        else:
            notes.add("files of other kinds, left out", file.name)
    if not readable:
        raise InputError(f"The folder {folder} holds no file that can be read.", f"Give one with files such as {', '.join(ENDINGS)}.")
    for file in readable:
        name = str(file.relative_to(folder))
        try:
            for place, value in read_rows(file, column, encoding, notes):
                yield f"{name}, {place}", value
        except DataError as error:
            notes.add("files that could not be read", f"{name} ({error.problem})")


def _is_hub_name(name: str) -> bool:
    owner, slash, rest = name.partition("/")
    plain = name.partition(":")[0]
    return bool(slash and owner and rest) and plain.count("/") == 1 and not plain.startswith((".", "/", "~")) and not Path(plain).suffix


def _hub(name: str, column: str | None) -> tuple[Rows, str]:
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
    return _items(found, column, plain), f"the Hugging Face Hub, {name}"
