"""The same fine-tuning by one process and by two of `accelerate launch`: same blocks, same losses, one model, one metrics.json."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ARGUMENTS = "--max_steps 11 --max_reviews 40 --block_size 64 --batch_size 4 --seed 3 --dataset package".split()


def start(folder: Path, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "nbtools.training"]
    environment = {**os.environ, "NBTOOLS_PROGRESS": "0"}
    command += [*ARGUMENTS, "--output_dir", str(folder), *more]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=environment)


launched_once = pytest.mark.xdist_group("launched")  # the tests that use these runs share a process


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    done = {count: start(folder / str(count), count) for count in (1, 2)}
    for one in done.values():
        assert one.returncode == 0, one.stdout + one.stderr
    return folder, done


@launched_once
@pytest.mark.slow(40)
def test_two_processes_learn_what_one_does(runs):
    folder, _ = runs
    losses = {}
    for count in (1, 2):
        rows = [json.loads(line) for line in (folder / str(count) / "curve.jsonl").read_text().splitlines()]
        losses[count] = [row["loss"] for row in rows]
        assert [row["step"] for row in rows] == [1, 10] and rows[-1]["tokens"] == 10 * 4 * 64
    # Each process rounds its half of the batch by itself, in bf16 where that is used.
    assert losses[2] == pytest.approx(losses[1], rel=2e-3)
    one, two = (load_file(folder / str(count) / "model" / "model.safetensors") for count in (1, 2))
    far = sum(float((one[name] - two[name]).square().sum()) for name in one) ** 0.5
    long = sum(float(one[name].square().sum()) for name in one) ** 0.5
    assert far / long < 2e-3


@launched_once
@pytest.mark.slow(5)
def test_one_model_is_saved_and_metrics_are_counted_once(runs):
    folder, done = runs
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    records = {count: json.loads((folder / str(count) / "metrics.json").read_text()) for count in (1, 2)}
    assert records[2]["tokens_seen"] == records[1]["tokens_seen"] == 11 * 4 * 64
    assert records[2]["parameters"] == records[1]["parameters"]
    for part in ("validation", "test"):
        first, second = (records[count]["after"][part]["perplexity"] for count in (1, 2))
        assert second == pytest.approx(first, rel=5e-3) and records[2]["before"][part] == records[1]["before"][part]
    assert len(re.findall("Wrote ", done[2].stdout)) == 1 and "2 processes: 11 steps" in done[2].stdout


@pytest.mark.slow(15)
def test_a_batch_that_cannot_be_shared_is_refused_in_two_lines(tmp_path):
    refused = start(tmp_path / "run", 2, "--batch_size", "3")
    assert refused.returncode != 0 and "2 processes cannot share it evenly" in refused.stderr and "Choose a multiple" in refused.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow(8)
def test_a_mistake_gets_two_lines_and_no_traceback(tmp_path):
    refused = start(tmp_path / "run", 1, "--profile", "no such model/at all/x")
    assert refused.returncode == 1 and "  -> " in refused.stderr and "Traceback" not in refused.stderr
