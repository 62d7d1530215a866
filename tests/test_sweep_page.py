"""The page of a sweep: complete, without scripts or external resources, and small."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nbtools.errors import RunError
from nbtools.report import write_page
from nbtools.report.sweep_page import MAX_CURVE_POINTS, group_values, thin
from nbtools.runs import RunStore, read_record
from nbtools.runs.store import write_status

HOSTILE = "<script>alert(1)</script>"


def made_up(folder, count=12, text="A film.", failed=2):
    """A sweep's folder with the metrics of fine-tuning runs."""
    runs = []
    for number in range(count):
        parameters = {"learning_rate": [1e-4, 1e-3, 1e-2][number % 3], "seed": number // 3}
        run = f"{number:012x}"
        runs.append({"id": run, "parameters": parameters})
        place = RunStore(folder).folder_of(run)
        place.mkdir(parents=True)
        if number < failed:
            failure = {"kind": "error", "reason": "the cell raised an error", "cell": 7, "source": "x = 1 / 0", "lines": [HOSTILE]}
            write_status(place, {"state": "failed", "parameters": parameters, "seconds": 3.0, "failure": failure})
            continue
        value = 1.5 + number % 3 / 10 + number / 1000
        score = {"perplexity": 2**value, "bits_per_byte": value, "reviews": 10}
        rows = [{"step": step, "loss": 5 - step / 100 + number / 50} for step in range(0, 300, 2)]
        samples = [
            {"prompt": "A", "before": f"A before {seed} {text}", "after": f"A after {seed} {text}", "seed": seed} for seed in range(3)
        ]
        both = {"validation": score, "test": score}
        metrics = {"kind": "finetune", "before": both, "after": both, "curve": rows, "samples": samples}
        (place / "metrics.json").write_text(json.dumps(metrics))
        cost = {"seconds": 9.5, "peak_memory_bytes": 7e8, "attempt": 1}
        write_status(place, {"state": "done", "parameters": parameters, "value": value, **cost})
    record = {
        "schema": 1, "kind": "sweep", "created": "2026-01-02T03:04:05+00:00", "command": ["nbtools", "sweep", "a b.yaml"],
        "asked": {"notebook": "04"}, "notebook": "/x/04_finetuning.ipynb", "title": f"Fine-tuning {HOSTILE}",
        "metric": "after.validation.bits_per_byte", "better": "lower", "keep": "best", "varied": ["learning_rate", "seed"], "runs": runs,
        "executor": "1 worker on this machine", "nbtools": "0.1.0", "package_sha256": "ab" * 32, "packages_sha256": "cd" * 32,
        "versions": {"torch": "1"}, "python": "3.11",
        "machine": {"system": "Linux", "processor": "P", "cores": 2, "memory_bytes": 8e9, "python": "3.11"},
    }  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps(record))
    return folder


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.headings, self.open = [], [], [], None

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in {"src", "href"}]
        self.open = tag if tag in {"h1", "h2"} else None

    def handle_data(self, data):
        if self.open:
            self.headings.append(data)
            self.open = None


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_holds_every_part_and_nothing_that_runs(tmp_path):
    page = write_page(made_up(tmp_path)).read_text()
    seen = read(page)
    assert seen.headings[1:] == [
        "What did best", "How they learned", "What each parameter did", "Before and after fine-tuning", "Can you tell?",
        "The same prompts, before and after", "What failed", "Every run", "How it was made, and how to make it again",
    ]  # fmt: skip
    assert "script" not in seen.tags and HOSTILE not in page and "&lt;script&gt;" in page
    assert set(seen.links) == {"tables/runs.csv", "tables/runs.parquet"}
    assert "default-src 'none'" in page and "nbtools sweep &#39;a b.yaml&#39;" in page and "cd" * 32 in page and "To cite it" in page
    assert "code cell 7: the cell raised an error" in page and "x = 1 / 0" in page and "10 of 12 runs" in page and "2 failed" in page


def test_every_picture_has_alternative_text_and_its_numbers(tmp_path):
    page = write_page(made_up(tmp_path)).read_text()
    pictures = re.findall(r"<svg[^>]*>", page)
    assert len(pictures) >= 3 and all(re.search(r'role="img" aria-label="[^"]{20,}"', picture) for picture in pictures)
    for figure in re.findall(r"<section><h2>(?:How they learned|What each parameter did).*?</section>", page, re.DOTALL):
        assert figure.count("<svg") == figure.count("<summary>The numbers</summary>")


def test_the_blind_comparison_does_not_reveal_the_models(tmp_path):
    page = write_page(made_up(tmp_path)).read_text()
    blind = page.partition("<h2>Can you tell?</h2>")[2].partition("All of its samples")[0]
    pairs = re.findall(r"<h4>Text A</h4><p[^>]*>A (\w+).*?<h4>Text B</h4><p[^>]*>A (\w+).*?Text ([AB]) was written after", blind, re.DOTALL)
    assert len(pairs) == 3 and all({first, second} == {"before", "after"} for first, second, _ in pairs)
    assert all((first == "after") == (answer == "A") for first, _, answer in pairs)


def test_a_hundred_runs_stay_under_three_megabytes(tmp_path):
    page = write_page(made_up(tmp_path, count=100, text="word " * 60))
    assert page.stat().st_size < 3e6


def test_every_file_of_a_run_is_read_once(tmp_path, monkeypatch):
    folder, opened, real = made_up(tmp_path, count=6, failed=1), Counter(), Path.open
    monkeypatch.setattr(Path, "open", lambda path, *rest, **options: opened.update([path]) or real(path, *rest, **options))
    write_page(folder)
    read = {path: times for path, times in opened.items() if path.name in ("status.json", "metrics.json", "sweep.json")}
    assert len(read) == 1 + 6 + 5 and set(read.values()) == {1}


def test_a_sweep_without_a_finished_run_has_a_page_too(tmp_path):
    page = write_page(made_up(tmp_path, count=2)).read_text()
    assert "0 of 2 runs" in page and "What failed" in page and "What did best" not in page


def test_a_folder_without_a_run_or_a_sweep_is_refused(tmp_path):
    with pytest.raises(RunError):
        write_page(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        read_record(tmp_path)


def test_a_long_curve_keeps_its_ends():
    points = [(step, step / 2) for step in range(1_000)]
    assert len(thin(points)) == MAX_CURVE_POINTS and thin(points)[0] == points[0] and thin(points)[-1] == points[-1]
    assert thin(points[:5]) == points[:5]


def test_many_drawn_values_are_shown_in_groups_of_neighbours():
    import pandas

    many = pandas.DataFrame({"rate": [number / 7 for number in range(60)], "value": [float(number) for number in range(60)]})
    groups = group_values(many, "rate")
    assert len(groups) == 12 and groups[0][1] == [0.0, 1.0, 2.0, 3.0, 4.0] and groups[0][0] == "0–0.571429"
    few = pandas.DataFrame({"word": ["b", "a", "b"], "value": [1.0, 2.0, 3.0]})
    assert group_values(few, "word") == [("b", [1.0, 3.0]), ("a", [2.0])]
