"""The pages show what the results say, and nothing typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, tables
from benchmarks.harness import RESULTS, goal
from nbtools.errors import InputError


def spread(value: float) -> dict[str, float]:
    return {"median": value, "min": value, "max": value}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results with just the figures that the README's paragraph reads."""
    trained = {
        "machine": {"cores": 2, "processor": "Some CPU"},
        "best_peer": "trainer_tuned",
        "against_walkthrough": {"ours": 12.34},
        "summary": {
            name: {"tokens_per_second": spread(speed), "peak_memory_bytes": spread(memory)}
            for name, speed, memory in [("ours", 987.6, 2e9), ("trainer_tuned", 500.0, 3e9), ("walkthrough", 80.0, 5e9)]
        },
        "goals": [goal("a", 3, 2), goal("b", 1, 2)],
    }
    reached = {
        "summary": {"mini": {"sooner": 7.77, "ours_seconds": {"median": 9}}, "smollm2": {"sooner": None, "ours_seconds": None}},
        "goals": [goal("c", None, 2)],
    }
    made = {
        "summary": {
            "smollm2": {
                f"{name} bf16": {"one_tokens_per_second": spread(speed)} for name, speed in [("nbtools", 99.0), ("transformers", 42.0)]
            }
        },
        "goals": [],
    }
    for name, record in (("finetune_throughput", trained), ("time_to_perplexity", reached), ("generation", made)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record), encoding="utf8")
    return tmp_path


def test_the_page_shows_the_stored_results() -> None:
    text = report.PAGE.read_text(encoding="utf8")
    assert report.page(text) == text, "run: python -m benchmarks.report"


def test_the_readme_shows_the_stored_results() -> None:
    text = report.README.read_text(encoding="utf8")
    if report.SPEED[0] not in text:
        pytest.skip("the README has no paragraph about speed yet")
    assert report.readme(text) == text, "run: python -m benchmarks.report"


def test_every_benchmark_has_a_table_a_command_and_a_result_only_of_a_whole_run() -> None:
    makefile = (report.ROOT / "Makefile").read_text(encoding="utf8")
    page = report.PAGE.read_text(encoding="utf8")
    for name in tables.TABLES:
        assert f" {name}" in makefile and f"`{name}`" in page and (report.ROOT / "benchmarks" / f"{name}.py").is_file()
    for path in RESULTS.glob("*.json"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        assert path.stem in tables.TABLES and record["name"] == path.stem
        assert record["quick"] is False and {"machine", "versions", "command", "raw", "goals"} <= set(record)
        assert all({"name", "value", "goal", "met"} <= set(one) for one in record["goals"])


def test_the_speed_paragraph_is_made_of_the_results(results: Path) -> None:
    said = report.speed(results)
    for figure in (
        "988 useful tokens",
        "12.3 times the recipe",
        "in 40% of its memory",
        "reaches 500.",
        "7.8 times sooner (mini), and is not reached by our plan with smollm2.",
        "99 tokens",
        "makes 42.",
    ):
        assert figure in said
    assert "1 of 3 goals are met" in said
    assert report.speed(results / "nothing here") == report.NOTHING


def test_a_page_without_its_markers_is_refused() -> None:
    begin, end = report.SPEED
    assert report.readme(f"before\n{begin}\nold\n{end}\nafter\n").endswith("\nafter\n")
    assert "old" not in report.readme(f"{begin}\nold\n{end}")
    for text in ("no markers", f"{begin} only", f"{end}\n{begin}", f"{begin}\n{begin}\n{end}"):
        with pytest.raises(InputError, match="once each"):
            report.readme(text)


def test_a_disturbed_result_says_so() -> None:
    record = {
        "machine": {"processor": "Some CPU", "cores": 2, "memory_bytes": 2**34, "units": ["avx512_bf16"]},
        "versions": {"python": "3.11", "torch": "2.13"},
        "created": "2026-11-24T00:00:00+00:00",
        "rounds": 5,
        "minutes": 3.0,
        "command": "python -m benchmarks.some",
        "raw": {"a": {"b": [{"others_percent": 3.0}, {"others_percent": 55.0}]}},
    }
    assert "**something else took up to 55 % of a core**" in tables.about(record)
    record["raw"] = {"a": [{"others_percent": 3.0}]}
    assert "nothing else was seen to run" in tables.about(record)


@pytest.mark.parametrize(("value", "shown"), [(1234.5, "1,234"), (99.96, "100"), (12.345, "12.3"), (0.01234, "0.0123"), (0, "0")])
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert tables.number(value) == shown


def test_a_table_sets_figures_to_the_right() -> None:
    assert tables.table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
