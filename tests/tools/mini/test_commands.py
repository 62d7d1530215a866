"""`python -m tools.mini`, which makes the shipped model, run as a maintainer runs it, on a corpus of a few lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nbtools.models import load_model
from tests.tools.mini.test_pretrain import books
from tools.mini.__main__ import app

ROOT = Path(__file__).parents[3]
SHAPE = "-r vocabulary=320 -r layers=1 -r heads=2 -r width=16 -r context=32 -r batch_size=2 -r short=16".split()
HELD = ["--hold-out", "book 5"]
COMMAND = [sys.executable, "-m", "tools.mini"]
ENVIRONMENT = os.environ | {"NBTOOLS_PROGRESS": "0", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "books.jsonl"
    path.write_text("".join(json.dumps(vars(book)) + "\n" for book in books()), encoding="utf8")
    return path


def call(*arguments: str | Path, place: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=place, env=ENVIRONMENT)


@pytest.mark.slow(12)
def test_a_short_training_makes_a_model_with_its_card(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with corpus.open("a", encoding="utf8") as file:
        file.writelines(json.dumps({"source": f"smollm2-{number}", "text": f"We had {number} rooms. " * 9}) + "\n" for number in range(2))
    train = ["train", str(corpus), "m", *SHAPE, *HELD, "-r", "steps=2", "--repeat", "3"]
    for arguments in (train, ["card", "m", "--to", "shipped", "--log", "none.json"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "m" / "pretraining.json").read_text(encoding="utf8"))
    assert record["tokens"] == 2 * 2 * 32 and record["documents"] == 7
    assert record["generated_documents"] == 2 and record["generated_characters"] == 2 * 9 * 16 and record["repeat"] == 3
    assert "\n20. **" in (tmp_path / "shipped" / "README.md").read_text(encoding="utf8")
    assert load_model(str(tmp_path / "shipped"), verbose=False).parameters == record["parameters"]


@pytest.mark.long(30)
def test_from_a_corpus_to_a_model_with_its_card(tmp_path: Path, corpus: Path) -> None:
    made = call("train", corpus, "m", *SHAPE, *HELD, "-r", "steps=12", place=tmp_path)
    assert made.returncode == 0, made.stderr
    record = json.loads((tmp_path / "m" / "pretraining.json").read_text(encoding="utf8"))
    assert record["tokens"] == 12 * 2 * 32 and record["held_out"] == ["book 5"] and record["documents"] == 5
    written = call("card", "m", "--to", "shipped", "--log", "none.json", place=tmp_path)
    assert written.returncode == 0, written.stderr
    card = (tmp_path / "shipped" / "README.md").read_text(encoding="utf8")
    assert f"{record['held_out_score']['bits_per_byte']:.4f} bits per byte" in card and "\n20. **" in card
    assert load_model(str(tmp_path / "shipped"), verbose=False).parameters == record["parameters"]


@pytest.mark.long(40)
def test_ctrl_c_keeps_what_was_done_and_resume_goes_on(tmp_path: Path, corpus: Path) -> None:
    arguments = ["train", str(corpus), "m", *SHAPE, *HELD, "-r", "steps=3000"]
    command = [*COMMAND, *arguments]
    curve = tmp_path / "m.unfinished" / "curve.jsonl"
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while child.poll() is None and not (curve.is_file() and curve.stat().st_size):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    assert child.returncode == 1 and "repeat the call with resume=True" in said, said
    assert list((tmp_path / "m.unfinished" / "checkpoints").glob("checkpoint-*/complete"))
    again = call(*arguments, "--resume", place=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Resuming from step" in again.stdout and (tmp_path / "m" / "model" / "model.safetensors").is_file()


@pytest.mark.slow(4)
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["train", "absent.jsonl", "m"], "There is no file absent.jsonl."),
        (["train", "books.jsonl", "m", "--hold-out", "no such book"], "No document is called 'no such book'."),
        (["train", "books.jsonl", "m", "-r", "width=1024"], "24 MB are allowed"),
        (["train", "books.jsonl", "m", "-r", "width"], "'width' is not of the form NAME=VALUE."),
        (["experiments", "books.jsonl", "--only", "nonsense"], "There is no experiment 'nonsense'."),
        (["card", "absent"], "absent is not the folder of a finished training."),
    ],
)
def test_a_mistake_is_two_lines(tmp_path: Path, corpus: Path, arguments: list[str], problem: str) -> None:
    said = call(*arguments, place=tmp_path)
    assert said.returncode == 1 and problem in said.stderr and "Traceback" not in said.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.long(40)
def test_experiments_are_logged_and_not_run_twice(tmp_path: Path, corpus: Path) -> None:
    arguments = ["experiments", str(corpus), *HELD, "--flops", "1e9", "--only", "base", "--only", "four epochs", "--out", "log.json"]
    first = call(*arguments, place=tmp_path)
    assert first.returncode == 0, first.stderr
    log = json.loads((tmp_path / "log.json").read_text(encoding="utf8"))
    assert [row["name"] for row in log] == ["base", "four epochs"] and all(row["bits_per_byte"] > 0 for row in log)
    assert call(*arguments, place=tmp_path).stdout.count("bits per byte held out") == 0
    assert json.loads((tmp_path / "log.json").read_text(encoding="utf8")) == log
