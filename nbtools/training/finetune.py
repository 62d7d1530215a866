"""One fine-tuning: its plan, Trainer, its checkpoints, and a model that takes its final name only when it is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, default_data_collator

from nbtools.accel.fast_path import FastPath
from nbtools.errors import InputError, MachineError
from nbtools.evaluation import evaluate
from nbtools.generation import release
from nbtools.models import exclusively, save_model
from nbtools.runtime import device, disk_is_full, keep_freed_memory, quiet_libraries, say, seed_everything
from nbtools.runtime.foreign import read_json_lines
from nbtools.texts import check_texts
from nbtools.training import folders, loop
from nbtools.training.callbacks import LOGGING_STEPS, Curve, Draw
from nbtools.training.choices import choose, describe, fast_path, repeat
from nbtools.training.config import FinetuneConfig, tokens_per_step
from nbtools.training.following import log_samples
from nbtools.training.loop import dropping, with_adapters
from nbtools.training.memory import refuse_impossible
from nbtools.training.plan import folder_of, share_of
from nbtools.values import CHECKS, shown

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.data import Packed
    from nbtools.models import LanguageModel

NAMES = ("output_dir", "validation", "resume", "choices", "callbacks", "draw", "prompts")  # beside those of FinetuneConfig
VALIDATION_SAMPLE = 32  # reviews scored for each point of the curve


@dataclass
class Finetuned:
    """A finished fine-tuning.

    lm      the tuned model, in evaluation mode; folder: where `model/` and, later, `metrics.json` lie
    curve   one row per logged step; tokens_seen: tokens trained on, none of them padding; seconds: of training alone
    choices what was decided automatically, with its reason; parameters: the plan with every None resolved
    """

    lm: LanguageModel
    folder: Path
    curve: list[dict[str, Any]]
    steps: int
    tokens_seen: int
    seconds: float
    choices: dict[str, Any]
    parameters: dict[str, Any]

    def __repr__(self) -> str:
        speed = f"{self.tokens_seen / self.seconds:,.0f} tokens a second" if self.seconds else "resumed at its end"
        return f"{self.steps} steps, {self.tokens_seen:,} tokens, {self.seconds / 60:.1f} minutes ({speed}), in {self.choices['dtype']}"


@exclusively
def finetune(
    lm: LanguageModel,
    train: Packed,
    *,
    output_dir: str | Path | None = None,
    validation: Dataset | Sequence[str] | None = None,
    resume: bool = False,
    choices: Mapping[str, Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    draw: Draw | None = None,
    prompts: Sequence[str] = (),
    **settings: Any,
) -> Finetuned:
    """Fine-tune `lm` in place on packed blocks; the model is then in `output_dir`/model and the same object is in the result.

    output_dir   final folder (default: runs/tuned/<profile>); an earlier fine-tuning of that name is renamed, anything else is refused
    validation   texts for the points of the curve between start and end: 32 of them, scored token-exactly at every fifth
    resume       go on with the interrupted run of the same plan from its newest whole checkpoint. Where NBTOOLS_RESUME=1 is set, as
                 `nbtools run` does for its notebooks, such a run is continued without this, and one that is not there is begun
    choices      of an estimate or of an earlier run's metrics.json, to be repeated instead of dtype, compile and threads
    callbacks    more of Trainer's callbacks; with report_to="tensorboard" its files go to the run's folder `logs`
    draw         makes the live picture of the curve in a notebook (`nbtools.plots.training.draw_curve`)
    prompts      continued greedily at the start and at every score, into `samples.jsonl`: what the model would write by then
    settings     the fields of `FinetuneConfig`: learning_rate, batch_size, gradient_accumulation_steps, epochs, max_steps, seed, lora,
                 dropout, dtype, compile, threads, checkpoint_steps, report_to. Of the checkpoints, the newest two are kept

    Under `accelerate launch` the processes share each step's blocks: batch_size is of all of them together, one model is saved,
    and every process returns the same result.

    Ctrl-C ends the running step, saves a checkpoint and raises RunError that says how to go on. Raises InputError for an
    unknown name, for an invalid value and for a model that a call has trained before, MachineError when memory cannot do or the disk is
    full, RunError when a loss is not a number any more (nothing of that step is kept).
    """
    config = FinetuneConfig.from_options("finetune", settings, also=NAMES)
    plan = config.plan(lm, train)
    resume = CHECKS["resume"]("resume", resume)
    _check_callbacks(callbacks)
    if lm.trained and not resume:
        problem = f"This {lm.name} was already changed by a fine-tuning here, so it is no base model any more."
        raise InputError(problem, "Load it again with load_model, or pass resume=True to go on with an interrupted run.")
    loop.refuse_reports(config.report_to)
    prompts = check_texts(prompts, "prompts")
    validation = None if validation is None else check_texts(validation, "validation")[:VALIDATION_SAMPLE]
    target = folder_of(plan, output_dir)
    processes = PartialState(cpu=device().type == "cpu")
    share = share_of(plan["batch_size"], processes.num_processes)
    quiet_libraries()
    seed_everything(config.seed)
    release(lm.model)  # what decoding keeps of the weights, in another format
    trained = with_adapters(lm) if config.lora else lm.model
    with keep_freed_memory(), dropping(trained, config.dropout):
        folder, choices, checkpoint = _open(lm, trained, train, target, plan, resume, share, choices, config.wanted)
        torch.set_num_threads(choices["threads"])
        fast = fast_path(trained, choices)
        curve = _curve(lm, trained, fast, folder, plan, validation, draw, prompts)
        seed_everything(config.seed)
        lm.trained = True
        with _full_disk_explained(folder):
            steps = loop.train(
                trained, train, folder, plan, choices, fast, share, [curve, *callbacks], save_steps=config.checkpoint_steps,
                report_to=config.report_to, checkpoint=checkpoint,
            )  # fmt: skip
            tuned = replace(lm, model=trained.merge_and_unload() if config.lora else trained)  # type: ignore[operator]
            tuned.model.eval()
            if processes.is_main_process:
                save_model(tuned, folder / "model")
                folders.finish(target)
            processes.wait_for_everyone()
    rows = read_json_lines(target / "curve.jsonl", {"step": int, "seconds": float})
    return Finetuned(
        tuned,
        target,
        rows,
        steps,
        steps * tokens_per_step(plan),
        rows[-1]["seconds"] if rows else curve.seconds,
        choices,
        {name: value for name, value in plan.items() if name != "blocks_sha256"},
    )


def _check_callbacks(callbacks: Any) -> None:
    """Raise InputError for anything that is not a list of Trainer's callbacks."""
    for one in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        if not isinstance(one, TrainerCallback) and not (isinstance(one, type) and issubclass(one, TrainerCallback)):
            raise InputError(f"A callback is {shown(one)}, which is no TrainerCallback.", "Give a list of objects of such classes.")
    if isinstance(callbacks, TrainerCallback):
        raise InputError("callbacks is a single callback.", "Give a list: [callback].")


def _open(
    lm: LanguageModel, model: Any, train: Packed, target: Path, plan: dict[str, Any], resume: bool, share: int,
    given: Mapping[str, Any] | None, wanted: dict[str, Any],
) -> tuple[Path, dict[str, Any], Path | None]:  # fmt: skip
    """The run's folder, the choices it is made with, and the checkpoint to go on from; one process opens, all know."""
    processes = PartialState()
    opened: list[Any] = [None]
    if processes.is_main_process:
        if folders.resumes_by_itself() and not lm.trained:
            resume = folders.can_resume(target, plan) or (resume and folders.has_interrupted(target))
        if resume:
            opened = [folders.reopen(target, plan)]
        else:
            refuse_impossible(model, share, train.block_size)
            batch = default_data_collator([train[number % len(train)] for number in range(share)])
            batch = {name: part.to(device()) for name, part in batch.items()}
            passes = plan["gradient_accumulation_steps"]
            chosen = choose(model, batch, plan["max_steps"], passes, **wanted) if given is None else repeat(model, given, wanted, passes)
            opened = [(folders.begin(target, {**plan, "choices": chosen}), chosen, None)]
    if processes.num_processes > 1:
        broadcast_object_list(opened)
    folder, choices, checkpoint = opened[0]
    if resume and checkpoint is None and lm.trained:
        raise InputError(f"This {lm.name} was already changed by a fine-tuning here.", "Load it again with load_model.")
    if processes.is_main_process:
        say(describe(choices))
        if checkpoint:
            say(f"Going on from step {folders.step_of(checkpoint)} of {plan['max_steps']}.")
    return folder, choices, checkpoint


def _curve(
    lm: LanguageModel,
    model: Any,
    fast: FastPath | None,
    folder: Path,
    plan: dict[str, Any],
    validation: Any,
    draw: Draw | None,
    prompts: Sequence[str],
) -> Curve:
    sample = validation or []

    def validate(step: int) -> dict[str, float]:
        with fast.paused() if fast else contextlib.nullcontext():
            now = replace(lm, model=model)
            if prompts:
                log_samples(folder, step, now, prompts)
            return {"validation_perplexity": evaluate(now, sample, "validation sample").perplexity} if sample else {}

    every = max(LOGGING_STEPS, round(plan["max_steps"] / 5 / LOGGING_STEPS) * LOGGING_STEPS)
    asked = validate if sample or prompts else None
    return Curve(folder / "curve.jsonl", tokens_per_step(plan), asked, every, draw)


@contextlib.contextmanager
def _full_disk_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors raises its own kind when a disk is full
        if disk_is_full(error):
            raise MachineError(
                f"The disk is full; the unfinished run is {folder}.", f"Free some space. {folders.how_to_resume()}"
            ) from error
        raise
