"""Fine-tuning: configuration, Trainer, checkpoints, and a model that takes its final name only when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import TrainerCallback

from nbtools.data import Packed, Reviews
from nbtools.data.own import OwnTexts
from nbtools.data.reviews import PARTS
from nbtools.errors import InputError, MachineError
from nbtools.evaluation import Score, evaluate
from nbtools.generation import release
from nbtools.models import LanguageModel, exclusively, save_model
from nbtools.storage import explain_full_disk
from nbtools.storage.json_files import read_json_lines
from nbtools.system import keep_freed_memory, keep_threads, quiet_libraries, say, seed_everything
from nbtools.texts import check_texts
from nbtools.training import checkpoints
from nbtools.training.callbacks import Curve, Draw
from nbtools.training.checkpoints import OpenRun
from nbtools.training.choices import TrainingChoices, first_batch, measure_choices, reuse_choices
from nbtools.training.config import FinetuneConfig
from nbtools.training.loop import Loop, add_lora, check_report_to, override_dropout
from nbtools.training.memory import check_least_memory
from nbtools.training.run_state import log_samples
from nbtools.values import CHECKS, shown

# What `finetune` takes beside the fields of FinetuneConfig.
NAMES = ("output_dir", "validation", "reviews", "before", "resume", "choices", "callbacks", "draw", "prompts")
VALIDATION_SAMPLE = 32  # texts scored for each point of the curve


@dataclass
class Finetuned:
    """A finished fine-tuning: everything that `write_metrics` needs."""

    lm: LanguageModel
    """The fine-tuned model, in evaluation mode."""
    folder: Path
    """The folder of `model/` and, later, `metrics.json`."""
    packed: Packed
    """The blocks that it was trained on."""
    curve: list[dict[str, Any]]
    """One row per ten steps."""
    steps: int
    tokens_seen: int
    """Tokens trained on, over all steps; none of them is padding."""
    seconds: float
    """Time of the training alone."""
    choices: TrainingChoices
    """Number format, threads and compilation, with reasons."""
    parameters: dict[str, Any]
    """The configuration with every None resolved."""
    reviews: Reviews | OwnTexts | None = None
    before: dict[str, Score] = field(default_factory=dict)
    """Scores of the model before training, by part of `reviews`."""
    after: dict[str, Score] = field(default_factory=dict)
    """Scores after training, of the same parts; see `evaluate`."""

    def evaluate(self) -> dict[str, Score]:
        """Score the fine-tuned model on the parts of `reviews` that `before` holds; the scores are kept as `after`."""
        if self.reviews is not None:
            self.after = {part: evaluate(self.lm, self.reviews.part(part), part) for part in self.before}
        return self.after

    def __repr__(self) -> str:
        speed = f"{self.tokens_seen / self.seconds:,.0f} tokens a second" if self.seconds else "resumed at its end"
        return f"{self.steps} steps, {self.tokens_seen:,} tokens, {self.seconds / 60:.1f} minutes ({speed}), in {self.choices.dtype}"


@exclusively
def finetune(
    lm: LanguageModel,
    train: Packed,
    *,
    output_dir: str | Path | None = None,
    validation: Dataset | Sequence[str] | None = None,
    reviews: Reviews | OwnTexts | None = None,
    before: Mapping[str, Score] | None = None,
    resume: bool = False,
    choices: TrainingChoices | Mapping[str, Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    draw: Draw | None = None,
    prompts: Sequence[str] = (),
    **settings: Any,
) -> Finetuned:
    """Fine-tune `lm` in place on packed blocks; the model is then in `output_dir`/model, and the same object is in the result.

    output_dir   final folder (default: runs/tuned/<profile>); an earlier fine-tuning of that name is renamed, anything else is refused
    validation   texts for the points of the curve between start and end: 32 of them, scored token-exactly after every fifth of the steps
    reviews      the data that `train` was packed from, for `metrics.json`
    before       scores of `lm` by part of `reviews`, such as {"validation": evaluate(lm, reviews.validation)}, for `metrics.json`
    resume       continue the interrupted run of the same configuration from its newest complete checkpoint. With NBTOOLS_RESUME=1, which
                 `nbtools run` sets for its notebooks, such a run is continued by default, and started where there is none
    choices      of an estimate or of an earlier run's metrics.json, to be repeated instead of dtype, compile and threads
    callbacks    further callbacks of Trainer; with report_to="tensorboard" its files go to the run's folder `logs`
    draw         makes the live picture of the curve in a notebook (`nbtools.plots.training.draw_curve`)
    prompts      continued at the start and at every point of the curve, sampled with a fixed seed, into `samples.jsonl`
    settings     the fields of `FinetuneConfig`: learning_rate, batch_size, gradient_accumulation_steps, epochs, max_steps, seed, lora,
                 dropout, dtype, compile, threads, checkpoint_steps, report_to. The two newest checkpoints are kept

    Under `accelerate launch` the processes share each step's blocks: batch_size is the total over all of them, one model is saved, and
    every process returns the same result.

    Ctrl-C ends the running step, saves a checkpoint and raises RunError that says how to resume. Raises InputError for an unknown name,
    for an invalid value and for a model that an earlier call has trained, MachineError when memory is too small or the disk is full,
    RunError when a loss is not finite (nothing of that step is kept).
    """
    config = FinetuneConfig.from_options("finetune", settings, also=NAMES).resolve(lm, train)
    resume = CHECKS["resume"]("resume", resume)
    _check_callbacks(callbacks)
    _check_scores(reviews, before)
    if lm.trained and not resume:
        problem = f"This {lm.name} was already changed by a fine-tuning in this process, so it is no longer the base model."
        raise InputError(problem, "Load it again with load_model, or pass resume=True to continue an interrupted run.")
    check_report_to(config.report_to)
    prompts = check_texts(prompts, "prompts")
    sample = [] if validation is None else check_texts(validation, "validation")[:VALIDATION_SAMPLE]
    plan = config.to_plan(lm, train)
    target = checkpoints.output_folder(plan["model"], output_dir)
    device_batch_size = config.per_device_batch_size
    processes = PartialState()
    quiet_libraries()
    seed_everything(config.seed)
    release(lm.model)  # what decoding keeps of the weights, in another format
    model = add_lora(lm) if config.lora else lm.model

    def choose() -> TrainingChoices:
        check_least_memory(model, device_batch_size, train.block_size)
        if choices is not None:
            return reuse_choices(model, choices, config)
        return measure_choices(model, first_batch(train, device_batch_size), config)

    with keep_freed_memory(), keep_threads(), override_dropout(model, config.dropout):
        run = _open(lm, target, plan, resume, choose)
        torch.set_num_threads(run.choices.threads)
        loop = Loop(model, train, run, config)
        curve = _curve(loop, lm, sample, prompts, draw)
        seed_everything(config.seed)
        lm.trained = True
        with explain_full_disk(_disk_full(run.folder)):
            steps = loop.train([curve, *callbacks])
            tuned = replace(lm, model=model.merge_and_unload() if config.lora else model)  # type: ignore[operator]
            tuned.model.eval()
            if processes.is_main_process:
                save_model(tuned, run.folder / "model")
                checkpoints.finish(target)
            processes.wait_for_everyone()
    rows = read_json_lines(target / "curve.jsonl", {"step": int, "seconds": float})
    return Finetuned(
        lm=tuned,
        folder=target,
        packed=train,
        curve=rows,
        steps=steps,
        tokens_seen=steps * config.tokens_per_step(train.block_size),
        seconds=rows[-1]["seconds"] if rows else curve.seconds,
        choices=run.choices,
        parameters={name: value for name, value in plan.items() if name != "blocks_sha256"},
        reviews=reviews,
        before=dict(before or {}),
    )


def _check_callbacks(callbacks: Any) -> None:
    """Raise InputError for anything that is not a list of Trainer's callbacks."""
    if not isinstance(callbacks, (list, tuple)):
        raise InputError(f"callbacks is {shown(callbacks)}, which is not a list.", "Give a list: [callback].")
    for callback in callbacks:
        if not issubclass(callback if isinstance(callback, type) else type(callback), TrainerCallback):
            raise InputError(f"A callback is {shown(callback)}, which is not a TrainerCallback.", "Give a list of TrainerCallback objects.")


def _check_scores(reviews: Any, before: Any) -> None:
    """Raise InputError where these are not data with parts, and scores of such parts."""
    if reviews is not None and not callable(getattr(reviews, "part", None)):
        raise InputError(f"reviews is {shown(reviews)}, which has no parts.", "Give what load_reviews or load_texts returned.")
    scores = before.items() if isinstance(before, Mapping) else [("", before)] * (before is not None)
    if any(reviews is None or part not in PARTS or not isinstance(score, Score) for part, score in scores):
        raise InputError("before does not hold scores of parts of reviews.", 'Give {"validation": evaluate(lm, reviews.validation)}.')


def _open(lm: LanguageModel, target: Path, plan: dict[str, Any], resume: bool, choose: Callable[[], TrainingChoices]) -> OpenRun:
    """Create or reopen the run. The main process does so, and the others are told."""
    processes = PartialState()
    opened: list[Any] = [None]
    if processes.is_main_process:
        if checkpoints.resumes_automatically() and not lm.trained:
            resume = checkpoints.can_resume(target, plan) or (resume and checkpoints.has_interrupted(target))
        opened = [checkpoints.reopen(target, plan) if resume else checkpoints.begin(target, plan, choose())]
    run: OpenRun = broadcast_object_list(opened)[0]
    if resume and run.checkpoint is None and lm.trained:
        raise InputError(f"This {lm.name} was already changed by a fine-tuning in this process.", "Load it again with load_model.")
    if processes.is_main_process:
        say(run.choices.describe())
        if run.checkpoint:
            say(f"Resuming from step {checkpoints.step_of(run.checkpoint)} of {plan['max_steps']}.")
    return run


def _curve(loop: Loop, lm: LanguageModel, sample: Sequence[str], prompts: Sequence[str], draw: Draw | None) -> Curve:
    """Return the callback that writes `curve.jsonl`, scores `sample` and continues `prompts`."""
    folder = loop.run.folder

    def validate(step: int) -> dict[str, float]:
        with loop.plain_model():
            current = replace(lm, model=loop.model)
            if prompts:
                log_samples(folder, step, current, prompts)
            return {"validation_perplexity": evaluate(current, sample, "validation sample").perplexity} if sample else {}

    tokens = loop.config.tokens_per_step(loop.blocks.block_size)
    return Curve(folder / "curve.jsonl", tokens, validate if sample or prompts else None, draw)


def _disk_full(folder: Path) -> MachineError:
    return MachineError(f"The disk is full; the unfinished run is {folder}.", f"Free some space. {checkpoints.how_to_resume()}")
