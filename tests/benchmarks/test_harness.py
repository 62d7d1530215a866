"""The arithmetic of the benchmarks, their processes, and what an interruption leaves."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import nbtools.system
from benchmarks import harness, machine
from benchmarks.harness import Call, goal, measure, ratio, rounds, spread
from benchmarks.kinds import ProcessorKind
from benchmarks.store import path_of
from nbtools.errors import RunError
from nbtools.system.compute import allowed_processors

HERE = "tests.benchmarks.test_harness"


def hold(megabytes: int, children: int = 0) -> dict[str, Any]:
    """For a process of its own: take this much memory, after as many children as asked for have taken it too."""
    import subprocess
    import sys

    code = f"import time; held = b'x' * ({megabytes} * 2**20); time.sleep(3)"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(children)]
    held = np.ones(megabytes * 2**20, np.uint8)
    for one in started:
        one.wait()
    return {"held": int(held.sum()), "pid": os.getpid(), "said": os.environ.get("SAID")}


def fail() -> dict[str, Any]:
    raise ValueError("no such thing")


def test_a_spread_is_the_median_with_the_least_and_the_most() -> None:
    assert spread([3.0, 1.0, 10.0]) == {"median": 3.0, "min": 1.0, "max": 10.0}


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down threefold slows both: the ratio stays 2, where the ratio of the medians would be 6."""
    ours, peer = [60.0, 60.0, 20.0], [30.0, 10.0, 10.0]
    assert ratio(ours, peer) == 2.0
    assert spread(ours)["median"] / spread(peer)["median"] == 6.0
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(2.0, False, True), (1.9, False, False), (1.9, True, True), (2.1, True, False), (None, True, False)]
)
def test_a_goal_is_met_or_not(value: float | None, at_most: bool, met: bool) -> None:
    one = goal("something", value, 2.0, at_most=at_most)
    assert (one["name"], one["value"], one["goal"], one["met"]) == ("something", value, 2.0, met)


def test_a_goal_for_one_kind_is_none_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only = goal("speed", 3.0, 10.0, format="fp32", kind="amd-avx512bf16-2")
    assert only["format"] == "fp32" and only["kind"] == "amd-avx512bf16-2"
    here = ProcessorKind("intel-avx2-4", "Intel, AVX2, 4 cores")
    monkeypatch.setattr(machine, "this_kind", lambda: here)
    assert harness.main("some", lambda _: {"goals": [only]}, harness.parser(None), ["--out", str(tmp_path / "result.json")]) == 0
    assert "no goal speed, fp32: 3 (at least 10)" in capsys.readouterr().err
    assert harness.applies(goal("speed", 3.0, 10.0), here) and not harness.applies(only, here)


def test_a_measurement_has_a_process_and_a_peak_of_its_own() -> None:
    ballast = np.ones(600 * 2**20, np.uint8)  # of this process, and of no concern to the other
    row = measure(Call(f"{HERE}:hold", {"megabytes": 100}, {"SAID": "heard"}))
    assert row["held"] == 100 * 2**20 and row["pid"] != os.getpid() and row["said"] == "heard"
    assert 100 * 2**20 < row["peak_memory_bytes"] < len(ballast)


def test_what_a_measurement_starts_counts_in_the_sum_only() -> None:
    row = measure(Call(f"{HERE}:hold", {"megabytes": 200, "children": 2}))
    assert row["tree_memory_bytes"] > row["peak_memory_bytes"] + 150 * 2**20


def test_a_failed_measurement_shows_the_end_of_its_output() -> None:
    with pytest.raises(RunError) as caught:
        measure(Call(f"{HERE}:fail"))
    assert "status 1" in caught.value.problem and "no such thing" in caught.value.remedy


def test_rounds_alternate_and_a_call_can_be_made_from_the_round_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def remember(call: Call) -> dict[str, Any]:
        seen.append((call.function, dict(call.arguments)))
        return {"number": len(seen)}

    monkeypatch.setattr(harness, "measure", remember)
    monkeypatch.setattr(harness, "others_percent", lambda: 1.25)
    raw = rounds({"a": Call("a"), "b": lambda rows: Call("b", {"after": rows["a"]["number"]})}, 2)
    assert seen == [("a", {}), ("b", {"after": 1}), ("a", {}), ("b", {"after": 3})]
    assert [row["number"] for row in raw["b"]] == [2, 4] and raw["a"][0]["others_percent"] == 1.2


def test_another_busy_process_is_named_aloud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def process(pid: int, percent: float, name: str) -> Any:
        return SimpleNamespace(pid=pid, cpu_percent=lambda: percent, name=lambda: name)

    running = [process(-5, 97.0, "a game"), process(-6, 1.0, "a clock"), process(os.getpid(), 100.0, "this test")]
    monkeypatch.setattr(psutil, "process_iter", lambda: running)
    assert harness.others_percent(0) == 98.0
    assert "a game takes 97 %" in capsys.readouterr().err
    running.pop(0)
    assert harness.others_percent(0) == 1.0
    assert capsys.readouterr().err == ""


def body(options: argparse.Namespace) -> dict[str, Any]:
    return {"goals": [goal("one", 1.0, 2.0)], "raw": {}, "rounds_run": options.rounds}


def test_a_result_holds_machine_versions_command_and_goals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "result.json"
    assert harness.main("some", body, harness.parser(None), ["--rounds", "7", "--out", str(target)]) == 0
    record = json.loads(target.read_text(encoding="utf8"))
    assert record["name"] == "some" and record["rounds_run"] == 7 and record["goals"][0]["met"] is False
    assert record["machine"]["cores"] == allowed_processors() and "torch" in record["versions"]
    assert record["command"].startswith("python -m benchmarks.some --rounds 7")
    assert "NOT MET one: 1 (at least 2)" in capsys.readouterr().err


def test_a_quick_run_has_one_round_and_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    seen: list[int] = []

    def look(options: argparse.Namespace) -> dict[str, Any]:
        seen.append(options.rounds)
        return body(options)

    assert harness.main("some", look, harness.parser(None), ["--quick"]) == 0
    assert seen == [1] and list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_stored_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    stored = path_of("some", machine.this_kind(), tmp_path)
    stored.parent.mkdir()
    stored.write_text('{"created": "2026-11-24", "minutes": 3, "kind": {"slug": "a", "label": "A"}}', encoding="utf8")
    earlier = stored.read_bytes()

    def interrupted(options: argparse.Namespace) -> dict[str, Any]:
        raise KeyboardInterrupt

    assert harness.main("some", interrupted, harness.parser(None), []) == 130
    said = capsys.readouterr().err
    assert stored.read_bytes() == earlier and f"The stored result in {stored} is unchanged" in said and "some: about 3 minutes" in said


def test_a_run_replaces_the_result_of_its_own_kind_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    for slug in ("intel-avx2-4", "amd-avx512-2", "intel-avx2-4"):
        kind = ProcessorKind(slug, slug)
        monkeypatch.setattr(machine, "this_kind", lambda kind=kind: kind)
        assert harness.main("some", body, harness.parser(None), []) == 0
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["amd-avx512-2.json", "intel-avx2-4.json"]
    assert json.loads((tmp_path / "some" / "intel-avx2-4.json").read_text(encoding="utf8"))["kind"]["slug"] == "intel-avx2-4"


def test_an_interruption_ends_the_process_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupt(pid: int) -> list[psutil.Process]:
        found = [process for process in [psutil.Process(pid)] if process.is_running()]
        if not started:
            started.append(pid)
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(harness, "family", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(Call(f"{HERE}:hold", {"megabytes": 10, "children": 1}))
    assert started and not psutil.pid_exists(started[0])


def test_an_impossible_number_of_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main("some", body, harness.parser(None), ["--rounds", "0"]) == 1
    assert "--rounds is 0" in capsys.readouterr().err


def test_the_machine_is_told_without_its_name() -> None:
    import socket

    facts = machine.facts()
    assert facts["memory_bytes"] > 2**28 and facts["processor"]
    assert socket.gethostname() not in json.dumps(facts)


def test_speed_gives_both_formats_and_a_bandwidth() -> None:
    speed = machine.speed(seconds=0.01, megabytes=8, sizes=[128])
    assert speed["fp32_gflops"] > 0 and speed["bf16_gflops"] > 0
    assert speed["read_bytes_per_second"] > 10**8


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
def test_the_fp32_peak_is_that_of_the_faster_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """MKL ran at half the speed of oneDNN on some processors, and a program that calls oneDNN exceeded the "peak"."""
    monkeypatch.setattr(nbtools.system, "measure_matmul", lambda *_, onednn=False: 2.0 if onednn else 1.0)
    assert machine.speed(seconds=0.01, megabytes=8, sizes=[128])["fp32_gflops"] == 2.0
