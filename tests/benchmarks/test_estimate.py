"""Predicted against actual, from end to end on a tiny plan, and how a miss is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import estimate, harness
from benchmarks.harness import Call, Row


@pytest.mark.slow(8)
def test_a_pair_is_predicted_and_then_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(harness, "measure", lambda call: getattr(estimate, call.function.partition(":")[2])(**call.arguments))
    monkeypatch.setattr(harness, "others_percent", lambda: 0.0)
    target = tmp_path / "estimate.json"
    assert harness.main("estimate", estimate.run, estimate.options(), ["--quick", "--out", str(target)]) == 0
    record = json.loads(target.read_text(encoding="utf8"))
    [(name, [row])] = record["raw"].items()
    assert row["seconds"] > 0 and row["predicted_seconds"] > 0 and row["memory_bytes"] > 10**8 and row["compiled"] is False
    assert sum(row["parts"].values()) == pytest.approx(row["predicted_seconds"], abs=0.1)
    assert record["summary"][name]["rounds"] == 1 and [one["goal"] for one in record["goals"]] == [0.25, 0.25]


def test_the_worst_round_counts_whichever_way_it_missed() -> None:
    rows: list[Row] = [
        {"predicted_seconds": 10, "seconds": 10, "predicted_memory_bytes": 9, "memory_bytes": 10, "probe_seconds": 1},
        {"predicted_seconds": 7, "seconds": 10, "predicted_memory_bytes": 12, "memory_bytes": 10, "probe_seconds": 1},
    ]
    found = estimate.summarize({"case": rows})
    assert found["summary"]["case"]["off"] == pytest.approx({"seconds": 0.3, "memory": 0.2})
    assert [one["met"] for one in found["goals"]] == [False, True]


def test_every_case_is_a_call_that_can_be_sent_to_another_process() -> None:
    for settings in (estimate.SHORT | estimate.LONG | estimate.QUICK).values():
        assert json.loads(json.dumps(Call("benchmarks.estimate:pair", settings).arguments)) == settings
