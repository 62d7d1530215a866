"""A training inside `nbtools run` that a signal ends: the same command goes on with it, and whatever says how to proceed changes no run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nbtools.notebooks import read_notebook
from nbtools.notebooks.fingerprint import fingerprint
from nbtools.runs import SharedStore, plan_run, run_notebooks, worker
from nbtools.training import TrainingChoices, checkpoints
from tests.runs.small_notebooks import printed, processes_with, write_notebook
from tests.runs.test_course import Silent

STEPS = 60
TRAINING = """
import time
from pathlib import Path
from transformers import TrainerCallback
from nbtools import finetune, load_reviews, pack
from nbtools.storage import runs_folder
from tests.small_models import tiny

class Trace(TrainerCallback):
    def on_step_end(self, args, state, control, **keywords):
        with open(runs_folder() / "steps.txt", "a") as file:
            file.write(f"{state.global_step}\\n")
        time.sleep(0.05)

lm = tiny()
packed = pack(load_reviews("package", 60).train, lm, 64)
settings = dict(max_steps=max_steps, batch_size=1, checkpoint_steps=5, dtype="fp32", threads=1, seed=seed)
tuned = finetune(lm, packed, resume=resume, callbacks=[Trace()], **settings)
"""
PARAMETERS = "max_steps: int = 60\nseed: int = 0\nresume: bool = False"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "notebooks", "04_mine", TRAINING, parameters=PARAMETERS)


def begin(notebook: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nbtools.cli", "run", str(notebook), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def steps(out: Path) -> list[int]:
    return [int(line) for line in (out / "steps.txt").read_text().split()]


def has_checkpoint(out: Path) -> bool:
    return any(out.glob("tuned/*.unfinished/checkpoints/checkpoint-*/complete"))


@pytest.mark.slow(25)
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("kind", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.long(25)), "SIGKILL", "SIGKILL of all"])
def test_a_training_that_was_killed_under_run_began_again_at_step_0(notebook: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    process = begin(notebook, out)
    while not has_checkpoint(out) and process.poll() is None:
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True) if kind.endswith("all") else []
    process.send_signal(getattr(signal, kind.split()[0]))
    for member in family:
        member.kill()
    said = process.communicate()[0]
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}.get(kind, -9), said
    while processes_with(str(out)):  # a kernel whose parent was killed ends by itself
        time.sleep(0.1)
    before = steps(out)
    assert 5 <= before[-1] < STEPS and not (out / "tuned" / "mini").exists()

    again = begin(notebook, out)
    said = again.communicate()[0]
    assert again.returncode == 0, said
    after = steps(out)[len(before) :]
    assert after == list(range(after[0], STEPS + 1)) and 5 < after[0] <= before[-1] + 1
    assert f"Resuming from step {after[0] - 1} of {STEPS}." in printed(out / "04_mine.ipynb")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"notebooks", "out"}
    assert [path.name for path in (out / "tuned").iterdir()] == ["mini"]


@pytest.mark.parametrize("given", [{"resume": "true"}, {"resume": "false"}, {"max_steps": "60"}, {"seed": "0", "resume": "True"}])
def test_saying_how_to_proceed_made_another_run(notebook: Path, tmp_path: Path, given: dict[str, str], monkeypatch) -> None:
    """-p resume true, which the message advised, set the interrupted run aside; a notebook's own value, given, did too."""
    asked = []

    def stop(job, output, **options):
        asked.append((job.parameters, job.environment["NBTOOLS_RESUME"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "execute", stop)
    for parameters in ({}, given):
        with pytest.raises(KeyboardInterrupt):
            run_notebooks(plan_run([str(notebook)], parameters, out=tmp_path / "out"), Silent())
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"notebooks", "out"}
    assert [resumes for _, resumes in asked] == ["1", "0" if given.get("resume") == "false" else "1"]
    assert SharedStore(tmp_path / "out").read()["notebooks"]["04_mine"]["state"] == "stopped"


def test_what_decides_a_result_still_makes_another_run(notebook: Path) -> None:
    read = read_notebook(notebook)
    marks = {fingerprint(read, given) for given in ({}, {"seed": 1}, {"max_steps": 61}, {"seed": 1, "max_steps": 61})}
    assert len(marks) == 4
    assert fingerprint(read, {"seed": 1, "resume": True}) == fingerprint(read, {"seed": 1})


def test_a_training_goes_on_by_itself_only_with_its_own_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {"seed": 0}
    assert not checkpoints.can_resume(tmp_path / "run", plan)
    folder = checkpoints.begin(tmp_path / "run", plan, TrainingChoices()).folder
    assert checkpoints.can_resume(tmp_path / "run", plan) and not checkpoints.can_resume(tmp_path / "run", {**plan, "seed": 1})
    for broken in ("", "{", "[]", "{}", '{"seed": 0, "choices": null}', '{"seed": 0, "choices": {"dtype": "fp32"}}'):
        (folder / "plan.json").write_text(broken)
        assert not checkpoints.can_resume(tmp_path / "run", plan)
