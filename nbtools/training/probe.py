"""A few steps of a fine-tuning, timed without changing a weight, and whether other work disturbed them."""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nbtools.data import Packed
from nbtools.evaluation import evaluate
from nbtools.models import LanguageModel
from nbtools.system import device, progress
from nbtools.training.checkpoints import OpenRun
from nbtools.training.choices import TrainingChoices
from nbtools.training.config import ResolvedConfig
from nbtools.training.loop import Loop

PROBES, LENGTH = 3, 2  # short probes of LENGTH steps each; the best one counts
PROBE_STEPS = 1 + PROBES * LENGTH  # the first step warms up; the last but one is followed by a checkpoint and a score, as in the run
# A probe counts as disturbed where the two best differ by more than a quarter, or where this thread, which on a processor waits for
# nothing but processor time, ran for less than this share of the time.
SPREAD, BUSY = 1.25, 0.75
LEAST_SECONDS = 0.5  # of all probes together: shorter ones are of toys, and clocks are too coarse for them


class Probe(TrainerCallback):
    """Runs and times a few steps with a learning rate of zero, one checkpoint and a score of `texts`; nothing is left in `folder`."""

    def __init__(self, lm: LanguageModel, texts: list[str], folder: Path) -> None:
        self.lm, self.texts, self.folder = lm, texts, folder
        self.scoring_seconds = 0.0
        self._steps: list[tuple[float, float]] = []  # wall time in seconds, and how much of it this thread ran
        self._scores: list[tuple[float, float]] = []
        self._mark = (0.0, 0.0)

    def run(self, train: Packed, config: ResolvedConfig, choices: TrainingChoices) -> None:
        """Take the probe's steps, then delete the checkpoint."""
        short = replace(config, max_steps=PROBE_STEPS, checkpoint_steps=PROBE_STEPS - 1, report_to="none")
        self.loop = Loop(self.lm.model, train, OpenRun(self.folder, choices), short, arguments={"learning_rate": 0.0})
        self.bar = progress(iter(()), "probing", total=PROBE_STEPS, unit="step")
        with self.bar:
            self.loop.train([self])
        checkpoints = self.folder / "checkpoints"
        self.checkpoint_bytes = size_of(checkpoints)
        shutil.rmtree(checkpoints)
        gc.collect()  # Trainer's objects refer to each other: until they are collected, the optimizer's moments stay

    @property
    def step_seconds(self) -> float:
        return min(wall for wall, _ in self._probes())

    def _probes(self) -> list[tuple[float, float]]:
        """Wall time and running time per step of each probe, in seconds."""
        probes = [self._steps[begin : begin + LENGTH] for begin in range(1, len(self._steps), LENGTH)]
        return [(statistics.fmean(wall for wall, _ in probe), statistics.fmean(ran for _, ran in probe)) for probe in probes]

    def disturbance(self) -> str:
        """Return why the probes were disturbed, or ""."""
        return disturbance(self._probes(), LENGTH) or disturbance(self._scores, 1)

    def _lap(self) -> tuple[float, float]:
        before, self._mark = self._mark, (time.perf_counter(), time.thread_time())
        return self._mark[0] - before[0], self._mark[1] - before[1]

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self._lap()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self._steps.append(self._lap())
        self.bar.update(1)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if not control.should_save:
            return
        if self.texts:
            with self.loop.plain_model():
                evaluate(self.lm, self.texts[-1:], "a sample")  # warms up
                for _ in range(2):
                    self._lap()
                    evaluate(self.lm, self.texts, "a sample")
                    self._scores.append(self._lap())
            self.scoring_seconds = min(wall for wall, _ in self._scores)
        self._lap()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self.checkpoint_seconds = self._lap()[0]


def disturbance(probes: Sequence[tuple[float, float]], length: int) -> str:
    """Return why probes of `length` steps each were disturbed, or "".

    probes  wall time of a step and how much of it this thread ran, in seconds
    """
    if len(probes) < 2 or sum(wall for wall, _ in probes) * length < LEAST_SECONDS:
        return ""
    best, second = sorted(probes)[:2]
    if device().type == "cpu" and best[1] < BUSY * best[0]:
        return f"the processor was busy with other programs for {1 - best[1] / best[0]:.0%} of the time"
    if second[0] > SPREAD * best[0]:
        return f"the same work took {best[0]:.2g} and {second[0]:.2g} s"
    return ""


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
