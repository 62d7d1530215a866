"""A few steps of a fine-tuning, timed without changing a weight, and whether other programs disturbed them."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nbtools.data import Packed
from nbtools.errors import printable
from nbtools.evaluation import evaluate
from nbtools.models import LanguageModel
from nbtools.system import OtherPrograms, allowed_processors, device, progress, wait_for_rest
from nbtools.training.checkpoints import OpenRun
from nbtools.training.choices import TrainingChoices
from nbtools.training.config import ResolvedConfig
from nbtools.training.loop import Loop

LENGTH = 2  # steps of a probe: short ones, because the best one counts, and a pause in other work may be short
LEAST_PROBES, MOST_PROBES = 3, 10
LIMIT_SECONDS = 15.0  # of all steps: after that no probe is added to the least number
PROBE_STEPS = 1 + MOST_PROBES * LENGTH + 1  # at most; the first step warms up, the last one follows a checkpoint and a score
AGREE = 1.1  # the two fastest of several measurements may differ by this factor; else one more is made
# A probe counts as disturbed if the two best differ by more than a quarter, if this thread, which on a CPU waits for nothing but processor
# time, ran for less than this share of the time, or if other programs took more than this share of the cores that it uses.
SPREAD, BUSY, OTHERS = 1.25, 0.75, 0.25
LEAST_SECONDS = 0.5  # of all probes together: shorter ones are of toys, and clocks are too coarse for them


@dataclass(frozen=True)
class Lap:
    """Something that was timed."""

    wall: float
    """Wall time in seconds."""
    ran: float
    """Seconds of it in which this thread ran."""
    others: list[tuple[float, str]] = field(default_factory=list)
    """Processor seconds and names of other programs meanwhile, the busiest first."""


class Probe(TrainerCallback):
    """Runs and times a few steps with a learning rate of zero, one checkpoint and a score of `texts`; nothing is left in `folder`."""

    def __init__(self, lm: LanguageModel, texts: list[str], folder: Path) -> None:
        self.lm, self.texts, self.folder = lm, texts, folder
        self.probes: list[Lap] = []  # of LENGTH steps each, without the first step
        self.scores: list[Lap] = []
        self._mark = (0.0, 0.0)  # wall time and this thread's time, in seconds, at the end of the last lap
        self._steps = 0
        self._saving = False

    def run(self, train: Packed, config: ResolvedConfig, choices: TrainingChoices) -> None:
        """Take the probe's steps, then delete the checkpoint."""
        self.threads = choices.threads
        short = replace(config, max_steps=PROBE_STEPS, checkpoint_steps=PROBE_STEPS, report_to="none")
        self.loop = Loop(self.lm.model, train, OpenRun(self.folder, choices), short, arguments={"learning_rate": 0.0})
        self.bar = progress(iter(()), "probing", unit="step")
        self.others = OtherPrograms()
        wait_for_rest()
        with self.bar:
            self.loop.train([self])
        checkpoints = self.folder / "checkpoints"
        self.checkpoint_bytes = size_of(checkpoints)
        shutil.rmtree(checkpoints)
        gc.collect()  # Trainer's objects refer to each other: until they are collected, the optimizer's moments stay

    @property
    def step_seconds(self) -> float:
        return fastest(self.probes).wall / LENGTH

    @property
    def scoring_seconds(self) -> float:
        """Of one score of `texts`."""
        return fastest(self.scores).wall if self.scores else 0.0

    def disturbance(self) -> str:
        """Return why the probes were disturbed, or ""."""
        return disturbance(self.probes, self.threads) or disturbance(self.scores, self.threads)

    def _lap(self) -> Lap:
        """Everything since the last lap; looking at other programs is not part of any."""
        wall, ran = time.perf_counter() - self._mark[0], time.thread_time() - self._mark[1]
        others = self.others.lap()
        self._mark = (time.perf_counter(), time.thread_time())
        return Lap(wall, ran, others)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self._mark = (time.perf_counter(), time.thread_time())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self.bar.update(1)
        self._steps += 1
        if self._saving:  # this was the step after the checkpoint
            control.should_training_stop = True
            self.loop.config = replace(self.loop.config, max_steps=state.global_step)  # not an interruption
        elif self._steps == 1:
            self._lap()
        elif (self._steps - 1) % LENGTH == 0:
            self.probes.append(self._lap())
            control.should_save = self._saving = enough(self.probes)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if not control.should_save:
            return
        if self.texts:
            self._score()  # warms up
            while not self.scores or not enough(self.scores):
                self._lap()
                self._score()
                self.scores.append(self._lap())
        self._lap()

    def _score(self) -> None:
        with self.loop.plain_model():
            evaluate(self.lm, self.texts, "a sample")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        self.checkpoint_seconds = self._lap().wall


def fastest(laps: Sequence[Lap]) -> Lap:
    return min(laps, key=lambda lap: lap.wall)


def enough(laps: Sequence[Lap]) -> bool:
    """Return whether the two fastest agree, so that no further measurement is needed, or the time or number allowed is used up."""
    if len(laps) < LEAST_PROBES:
        return False
    best, second = sorted(lap.wall for lap in laps)[:2]
    return second <= AGREE * best or len(laps) >= MOST_PROBES or sum(lap.wall for lap in laps) > LIMIT_SECONDS


def disturbance(laps: Sequence[Lap], threads: int) -> str:
    """Return why the same work, timed several times with this many threads, was disturbed, or ""."""
    if len(laps) < 2 or sum(lap.wall for lap in laps) < LEAST_SECONDS:
        return ""
    best, second = sorted(laps, key=lambda lap: lap.wall)[:2]
    if device().type == "cpu":
        cores = allowed_processors()
        others = sum(seconds for seconds, _ in best.others) / best.wall
        if others - max(0, cores - threads) > OTHERS * threads:  # on other cores they do not disturb
            name = printable(best.others[0][1])
            return f"the processor was busy with other programs ({others:.1f} of {cores} cores, most of it {name})"
        if best.ran < BUSY * best.wall:
            return f"the processor was busy with other programs for {1 - best.ran / best.wall:.0%} of the time"
    if second.wall > SPREAD * best.wall:
        return f"the same work took {best.wall:.2g} and {second.wall:.2g} s"
    return ""


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
