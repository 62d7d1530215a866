"""Load your own texts from a file, a folder, a data set or a list: report unusual rows, clean the texts, and split them by a hash."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.data.cleaning import fingerprint, has_lost_bytes, has_markup, html_to_text, is_too_short, tidy
from nbtools.data.columns import extract_items
from nbtools.data.formats import ENDINGS, TEXT, ReadOptions, Rows, kind_of, read_rows
from nbtools.data.notes import Notes
from nbtools.data.parts import PARTS, Parts, split_by_hash
from nbtools.data.plain import MIN_TEXTS, UNITS
from nbtools.data.sources import load_from_hub
from nbtools.errors import CourseError, DataError, InputError, printable
from nbtools.system import available_memory, progress
from nbtools.texts import describe, describe_kind, repair
from nbtools.values import Text, checked

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 60  # characters of a source that an error quotes
CLEANING = {"none": tidy, "html": html_to_text}


@dataclass
class OwnTexts(Parts):
    """Texts in three parts that have no text in common.

    Each part is a data set with the columns text (str), place (where the text was read) and key (hash of the words). The counts are of
    texts read, kept, and dropped: empty, not text, too short, with lost bytes, duplicate, or not drawn because of max_texts.
    """

    notes: list[str] = field(default_factory=list)
    """What was unusual, one line per kind, with positions."""

    def __repr__(self) -> str:
        dropped = ", ".join(f"{count:,} {why}" for why, count in self.counts.items() if why not in ("read", "kept") and count)
        lines = [f"Texts from {self.source}", f"  {self.counts['read']:,} read; dropped: {dropped or 'none'}"]
        for name in PARTS:
            texts = self.part(name)["text"]
            lines.append(f"  {name:<10} {len(texts):>6,} texts, {sum(map(len, texts)):>10,} characters")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@checked(seed=(0, 2**63 - 1), max_texts=(MIN_TEXTS, 10**9))
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
    """Load texts, drop those that cannot be used, and split the rest into train, validation and test (80, 10, 10 %).

    source     a file (.txt, .md, .csv, .tsv, .jsonl, .json, .parquet; also compressed as .gz or .xz), a folder of such files, a list of
               strings, a `datasets` object, a pandas column or table, or the name of a data set on the Hub ("owner/name" or
               "owner/name:split")
    column     the column with the text, or a path into nested objects such as "data.text". None: chosen by name, or the only column with
               text. A column of conversations ([{"role": …, "content": …}, …]) is read as paragraphs "role: words"
    encoding   None: that of the byte order mark, else UTF-8, else Windows-1252, with a note
    unit       what one text is in a plain text file: "line", "paragraph" (lines up to an empty line) or "document" (the file; a long one
               is split at empty lines). None: guessed from the file, with a note
    clean      "none": only line endings and surrounding empty lines are changed; "html": HTML is converted to plain text, with a note
    max_texts  keep at most this many, drawn at random. The source is read as a stream, so it may be larger than memory (except .json)
    seed       seed of the random draw

    The part of a text depends on its words alone.

    Raises InputError for a source or a column that does not exist, DataError for a source without usable texts, UnreachableError if the
    Hub is needed and cannot be reached.
    """
    Text(tuple(CLEANING))("clean", clean)
    if unit is not None:
        Text(UNITS)("unit", unit)
    if column == "":
        raise InputError("column is empty.", "Give the name of a column, or None to have it found.")
    notes = Notes()
    rows, words = _rows_of(source, ReadOptions(column, encoding, unit), notes)
    counts = {"read": 0, "kept": 0, "empty": 0, "not text": 0, "too short": 0, "lost bytes": 0, "duplicate": 0, "not drawn": 0}
    kept = _keep(_usable(rows, clean, counts, notes), counts, max_texts, random.Random(seed))
    if len(kept) < MIN_TEXTS:
        found = f"{len(kept)} usable text{'s' if len(kept) != 1 else ''} of {counts['read']} read"
        doubt = f"Is one text per {unit} right?" if unit else "Is it the right column?"
        advice = f"Give at least {MIN_TEXTS}. {' '.join(notes.lines()) or doubt}"
        raise DataError(f"{words} holds {found}: too few for a validation and a test part.", advice)
    return OwnTexts(**_split(kept), counts=counts | {"kept": len(kept)}, source=words, notes=notes.lines())


def _usable(rows: Rows, clean: str, counts: dict[str, int], notes: Notes) -> Rows:
    """Yield the usable texts of `rows`, repaired and cleaned; dropped rows are counted and changes are noted."""
    for position, value in progress(rows, "reading", unit="text"):
        counts["read"] += 1
        if value is None or (isinstance(value, str) and not value.strip()):
            why, note = "empty", "rows without a text"
        elif not isinstance(value, str):
            why, note = "not text", f"rows that hold {describe_kind(value)} instead of text"
        elif has_lost_bytes(value):
            why, note = "lost bytes", "texts with lost bytes (U+FFFD or zero)"
        elif is_too_short(text := _cleaned(value, clean, position, notes)):
            why, note = "too short", "texts of a single word or less"
        else:
            yield position, text
            continue
        counts[why] += 1
        notes.add(note, position)


def _cleaned(text: str, clean: str, position: str, notes: Notes) -> str:
    repaired = repair(text)
    if repaired != text:
        notes.add("texts with half of a character (a lone surrogate), now U+FFFD", position)
    cleaned = CLEANING[clean](repaired)
    if clean == "html" and cleaned != tidy(repaired):
        notes.add("texts converted to plain text (clean='html')", position)
    elif clean == "none" and has_markup(cleaned):
        notes.add("texts with HTML in them, kept as they are (clean='html' converts it to plain text)", position)
    return cleaned


def _keep(rows: Rows, counts: dict[str, int], limit: int | None, generator: random.Random) -> dict[int, dict[str, Any]]:
    """Return texts by the hash of their words: all, or a uniform sample of `limit` (Vitter, 1985, algorithm R)."""
    kept: dict[int, dict[str, Any]] = {}
    order: list[int] = []
    seen: set[int] = set()
    size, max_size = 0, available_memory() // 8  # characters; the data set will hold copies of them, up to four bytes each
    for position, text in rows:
        if (key := fingerprint(text)) in seen:
            counts["duplicate"] += 1
            continue
        seen.add(key)
        row = {"text": text, "place": printable(position)}
        if limit is None or len(order) < limit:
            order.append(key)
            kept[key] = row
            size += len(text)
            if size > max_size:
                remedy = f"Draw a sample: max_texts={max(MIN_TEXTS, len(order) // 4)} would fit."
                raise DataError(f"The texts do not fit into this machine's memory, from {position} on.", remedy)
        else:
            counts["not drawn"] += 1
            if (index := generator.randrange(len(seen))) < limit:
                del kept[order[index]]
                order[index] = key
                kept[key] = row
    return kept


def _split(kept: dict[int, dict[str, Any]]) -> dict[str, Dataset]:
    """Split like the reviews; a part that would be empty gets the first of the training texts."""
    from datasets import Dataset

    parts = split_by_hash(kept)
    for name in ("validation", "test"):
        if not parts[name]:
            parts[name].append(parts["train"].pop(0))
    return {name: Dataset.from_list(rows) for name, rows in parts.items()}


def _rows_of(source: Any, options: ReadOptions, notes: Notes) -> tuple[Rows, str]:
    """Return an iterator over the rows of `source`, and its name in words."""
    if isinstance(source, (str, Path)):
        return _rows_of_path(source, options, notes)
    if options.unit:
        raise InputError(f"unit={options.unit!r} is for plain text files, and this is {describe(source)}.", "Leave it out.")
    if isinstance(getattr(source, "column_names", None), dict):
        raise InputError(f"This data set has parts: {', '.join(source.column_names)}.", "Give one of them, such as dataset['train'].")
    if isinstance(source, Mapping):
        raise InputError("Texts cannot be read from a mapping.", "Give a list of strings, a file, or one of its columns.")
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        source = source.to_dict("records")
    elif hasattr(source, "tolist"):
        source = source.tolist()
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise InputError(f"Texts cannot be read from {describe_kind(source)}.", "Give a file, a folder, a list of strings or a data set.")
    where = "the data set" if hasattr(source, "column_names") else "the list"
    return extract_items(source, options.column, where, notes), "what was given"


def _rows_of_path(source: str | Path, options: ReadOptions, notes: Notes) -> tuple[Rows, str]:
    try:
        path = Path(source).expanduser()
        is_folder, is_file = bool(str(source)) and path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that is too long or has a zero byte, or an unknown home folder
        is_folder = is_file = False
    if is_folder:
        return _folder(path, options, notes), f"the folder {printable(path.resolve().name)}"
    if is_file:
        if options.unit and kind_of(path) not in TEXT:
            raise InputError(f"unit={options.unit!r} is for plain text files, and {path.name} has rows.", "Leave it out.")
        if options.column and kind_of(path) in TEXT:
            raise InputError(f"column={options.column!r} is for tables, and {path.name} is plain text.", "Leave it out.")
        return read_rows(path, options, notes), printable(path.name)
    hub = re.fullmatch(r"([^./~:][^/:]*/[^/:.]+)(?::(.*))?", str(source))  # owner/name or owner/name:split
    if hub and isinstance(source, str):
        name, split = hub.groups()
        remedy = "Check the name, owner/name or owner/name:split, or give a file or a folder."
        # Streamed, so that no more is downloaded than is read.
        rows = load_from_hub(name, remedy, split=split or "train", streaming=True)
        return extract_items(rows, options.column, name, notes), f"the Hugging Face Hub, {source}"
    shown = f"{str(source)[:SHOWN]}…" if len(str(source)) > SHOWN else source
    remedy = "Check the path; a data set on the Hub is named owner/name, and texts themselves are given as a list of strings."
    raise InputError(f"There is no file or folder {shown}.", remedy)


def _folder(folder: Path, options: ReadOptions, notes: Notes) -> Rows:
    """Yield the rows of all readable files below a folder; files of other kinds, and files that cannot be read, are noted."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not any(part.startswith(".") for part in file.parts[-2:]))
    kinds: dict[Path, str] = {}
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):  # the link could put any private file into the training data
            notes.add("links that lead out of the folder, left out", file.name)
            continue
        try:
            kinds[file] = kind_of(file)
        except InputError:
            notes.add("files of other kinds, left out", file.name)
    if not kinds:
        raise InputError(f"The folder {folder} holds no file that can be read.", f"Give one with files such as {', '.join(ENDINGS)}.")
    if options.unit is None and sum(kind in TEXT for kind in kinds.values()) >= MIN_TEXTS:
        options = replace(options, unit="document")  # each file is a text
        notes.remark("text files read as one text each, a long one in pieces (unit='line' or 'paragraph' reads them otherwise)")
    for file in kinds:
        name = str(file.relative_to(folder))
        try:
            for position, value in read_rows(file, options, notes):
                yield f"{name}, {position}", value
        except CourseError as error:
            notes.add("files that could not be read", f"{name} ({error.problem} {error.remedy})")
