"""All benchmarks as one series: what is said beforehand, and how an interrupted series is resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import __main__ as series
from benchmarks import harness, report, store
from benchmarks.kinds import ProcessorKind

KIND = ProcessorKind("intel-avx2-4", "Intel, AVX2, 4 cores")
AMD = ProcessorKind("amd-avx2-2", "AMD, AVX2, 2 cores")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the benchmarks that were run; there are three, none of which measures anything."""
    seen: list[str] = []

    def run_one(name: str, rounds: int | None) -> int:
        seen.append(name)
        return 130 if (tmp_path / f"interrupt {name}").exists() else 0

    monkeypatch.setattr(series, "NAMES", ("a", "b", "c"))
    monkeypatch.setattr(series, "STATE", tmp_path / "state")
    monkeypatch.setattr(series, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(series, "this_kind", lambda: KIND)
    monkeypatch.setattr(series, "run_one", run_one)
    monkeypatch.setattr(report, "main", lambda check: 0)
    return seen


@pytest.fixture
def interrupt(tmp_path: Path) -> Callable[[str, bool], None]:
    """Make a benchmark end as after Ctrl-C, or no longer."""

    def switch(name: str, on: bool) -> None:
        path = tmp_path / f"interrupt {name}"
        path.touch() if on else path.unlink()

    return switch


def test_after_an_interruption_the_same_command_skips_what_is_measured(ran: list[str], interrupt: Callable[[str, bool], None]) -> None:
    interrupt("b", True)
    assert series.main([]) == 130 and ran == ["a", "b"]
    interrupt("b", False)
    ran.clear()
    assert series.main([]) == 0 and ran == ["b", "c"]
    ran.clear()
    assert series.main([]) == 0 and ran == ["a", "b", "c"], "the series was complete: this is a new one"


def test_again_starts_a_new_series(ran: list[str], interrupt: Callable[[str, bool], None]) -> None:
    interrupt("b", True)
    series.main([])
    interrupt("b", False)
    ran.clear()
    assert series.main(["--again"]) == 0 and ran == ["a", "b", "c"]


def test_a_series_of_another_kind_of_processor_is_not_resumed(
    ran: list[str], interrupt: Callable[[str, bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt("b", True)
    series.main([])
    monkeypatch.setattr(series, "this_kind", lambda: AMD)
    ran.clear()
    series.main([])
    assert ran == ["a", "b"]


def test_the_plan_says_how_long_it_takes_and_by_which_results(ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind, minutes in (("a", KIND, 20.0), ("b", AMD, 100.0)):
        made = {"created": "2026-11-24", "minutes": minutes, "kind": vars(kind)}
        store.write(store.path_of(name, kind, tmp_path / "results"), made)
    assert series.main(["--plan"]) == 0 and ran == []
    said = capsys.readouterr().err
    assert "Intel, AVX2, 4 cores: about 2.0 hours and c, not measured before." in said
    assert "a: about 20 minutes\n" in said and "b: about 100 minutes (on AMD, AVX2, 2 cores)" in said and "c: not measured before" in said


def test_single_benchmarks_can_be_named_and_unknown_ones_are_refused(ran: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert series.main(["c", "a"]) == 0 and ran == ["a", "c"]
    with pytest.raises(SystemExit):
        series.main(["nothing"])
    assert "unknown: nothing" in capsys.readouterr().err


def test_the_state_is_in_a_folder_that_git_ignores() -> None:
    from benchmarks.harness import ROOT

    assert "/runs/" in (ROOT / ".gitignore").read_text(encoding="utf8").split()
    assert series.STATE.is_relative_to(ROOT / "runs")
