"""The pages show what the results say, and nothing typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, tables
from benchmarks.__main__ import NAMES
from benchmarks.harness import goal
from benchmarks.kinds import kind_of_record
from benchmarks.layout import Table, about, by_kind, goals_table, markdown, number
from benchmarks.store import RESULTS, write
from nbtools.errors import InputError


def spread(value: float) -> dict[str, float]:
    return {"median": value, "min": value, "max": value}


AMD = {"slug": "amd-avx512bf16-2", "label": "AMD, AVX-512 BF16, 2 cores"}
INTEL = {"slug": "intel-avx2-4", "label": "Intel, AVX2, 4 cores"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of two kinds of processor, with just the figures that the README's paragraphs read."""
    trained = {
        "dtype": "bf16",
        "best_peer": "trainer_tuned",
        "against_walkthrough": {"ours": 12.34},
        "summary": {
            name: {"tokens_per_second": spread(speed), "peak_memory_bytes": spread(memory)}
            for name, speed, memory in [("ours", 987.6, 2e9), ("trainer_tuned", 500.0, 3e9), ("walkthrough", 80.0, 5e9)]
        },
        "goals": [goal("a", 3, 2), goal("b", 1, 2, kind=AMD["slug"])],
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
        write(tmp_path / name / f"{AMD['slug']}.json", record | {"kind": AMD, "created": "2026-11-24T00:00:00"})
    other = trained | {"kind": INTEL, "dtype": "fp32", "created": "2026-12-01T00:00:00"}
    write(tmp_path / "finetune_throughput" / f"{INTEL['slug']}.json", other)
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
    page = report.PAGE.read_text(encoding="utf8")
    for name in tables.TABLES:
        assert name in (*NAMES, "mini") and f"`{name}`" in page and (report.ROOT / "benchmarks" / f"{name}.py").is_file()
    assert not list(RESULTS.glob("*.json")), "run: python -m benchmarks.report"
    for path in RESULTS.glob("*/*.json"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        assert path.parent.name in tables.TABLES and record["name"] == path.parent.name and kind_of_record(record).slug == path.stem
        assert record["quick"] is False and {"machine", "versions", "command", "raw", "goals"} <= set(record)
        assert all({"name", "value", "goal", "met"} <= set(one) for one in record["goals"])


def test_the_speed_paragraph_is_made_of_the_results(results: Path) -> None:
    said = report.speed(results)
    amd, intel, link = said.split("\n\n")
    for figure in (
        "**AMD, AVX-512 BF16, 2 cores** (2026-11-24).",
        "in bf16: 988 useful tokens",
        "12.3 times the recipe",
        "in 40% of its memory",
        "reaches 500.",
        "7.8 times sooner (mini), and not at all with smollm2.",
        "99 tokens",
        "and 42 with",
        "1 of 3 goals are met",
    ):
        assert figure in amd
    assert "**Intel, AVX2, 4 cores** (2026-12-01)." in intel and "in fp32: 988" in intel
    assert "1 of 1 goals are met" in intel, "the second goal is for the other kind"
    assert "has all goals" in link
    assert report.speed(results / "nothing here") == report.NOTHING


def test_tables_have_a_group_of_rows_and_goals_a_column_per_kind() -> None:
    goals = [goal("fast", 3, 2, format="bf16", kind=AMD["slug"]), goal("small", 9, 5, at_most=True)]
    amd, intel = ({"kind": kind, "created": "2026-11-24T00:00:00", "goals": goals} for kind in (AMD, INTEL))
    [table, *said] = by_kind([amd, intel], [[Table(["a", "b"], [["x", "1"]]), "Same."], [Table(["a", "b"], [["x", "2"]]), "Same."]])
    assert isinstance(table, Table) and said == ["Same."]
    assert [row[0] for row in table.rows] == [
        "**AMD, AVX-512 BF16, 2 cores, 2026-11-24**",
        "x",
        "**Intel, AVX2, 4 cores, 2026-11-24**",
        "x",
    ]
    [shown] = goals_table([amd, intel])
    assert isinstance(shown, Table) and shown.rows == [
        ["fast", "bf16", "at least 2 (AMD, AVX-512 BF16, 2 cores)", "3, met", "3, no goal"],
        ["small", "", "at most 5", "9, **not met**", "9, **not met**"],
    ]


def test_what_only_one_kind_says_names_it_and_other_columns_make_another_table() -> None:
    amd, intel = ({"kind": kind, "created": "2026-11-24T00:00:00"} for kind in (AMD, INTEL))
    blocks = by_kind([amd, intel], [[Table(["a", "b"], []), "Here."], [Table(["a", "c"], [])]])
    assert [block.head if isinstance(block, Table) else block for block in blocks] == [
        ("a", "b"),
        ("a", "c"),
        "AMD, AVX-512 BF16, 2 cores: Here.",
    ]


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
    assert "**something else took up to 55 % of a core**" in about(record)
    record["raw"] = {"a": [{"others_percent": 3.0}]}
    assert "nothing else was seen to run" in about(record)


@pytest.mark.parametrize(("value", "shown"), [(1234.5, "1,234"), (99.96, "100"), (12.345, "12.3"), (0.01234, "0.0123"), (0, "0")])
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_sets_figures_to_the_right() -> None:
    assert markdown(Table(["a", "b"], [["x", "1"]])) == "| a | b |\n| --- | ---: |\n| x | 1 |"
