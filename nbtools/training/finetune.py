"""One fine-tuning: its plan, Trainer, its checkpoints, and a model that takes its final name only when it is whole."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.data import texts_of
from nbtools.errors import InputError, MachineError, RunError
from nbtools.evaluation import evaluate
from nbtools.models import save_model
from nbtools.runtime import NumberFormat, choose_dtype, device, disk_is_full, quiet_libraries, runs_folder, seed_everything
from nbtools.training import folders
from nbtools.training.callbacks import CleanStop, Curve, Draw, MarkComplete

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.data import Packed
    from nbtools.models import LanguageModel

LOGGING_STEPS = 10
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


def finetune(
    lm: LanguageModel,
    train: Packed,
    *,
    output_dir: str | Path | None = None,
    validation: Dataset | Sequence[str] | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    epochs: float | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    lora: bool = False,
    dtype: str | None = None,
    checkpoint_steps: int | None = None,
    report_to: str = "none",
    draw: Draw | None = None,
) -> Finetuned:
    """Fine-tune `lm` in place on packed blocks; the model is then in `output_dir`/model and the same object is in the result.

    output_dir   final folder (default: runs/tuned/<profile>); an earlier one of that name is renamed, not overwritten
    validation   texts for the points of the curve between start and end: 32 of them, scored token-exactly at every fifth
    learning_rate, batch_size (blocks a step), max_steps   None means the profile's value; `epochs` instead of max_steps
    resume       go on with the interrupted run of the same plan from its newest whole checkpoint
    lora         train low-rank adapters only (Hu et al., 2021; needs the extra [lora]) and merge them into the saved model
    dtype        "fp32", "bf16" or "fp16" for the passes; None: measured, chosen and recorded. Weights are trained in fp32
    checkpoint_steps   a checkpoint every so many steps (default: a fifth of the run); the newest two are kept
    draw         makes the live picture of the curve in a notebook (`nbtools.plots.training.draw_curve`)
    report_to    passed to Trainer: "none", "tensorboard", "mlflow" …

    Ctrl-C ends the running step, saves a checkpoint and raises RunError that says how to go on. Raises InputError for an
    impossible plan and for a model that a call has trained before, MachineError when the disk is full, RunError when the loss
    is not a number any more.
    """
    if lm.trained and not resume:
        problem = f"This {lm.name} was already changed by a fine-tuning here, so it is no base model any more."
        raise InputError(problem, "Load it again with load_model, or pass resume=True to go on with an interrupted run.")
    plan = _plan(lm, train, learning_rate, batch_size, epochs, max_steps, seed, lora)
    target = Path(output_dir) if output_dir else runs_folder() / "tuned" / Path(plan["model"]).name
    checkpoint: Path | None = None
    if resume:
        folder, choices, checkpoint = folders.reopen(target, plan)
    else:
        choices = _choices(dtype)
        folder = folders.begin(target, {**plan, "choices": choices})
    print(f"Passes in {choices['dtype']}: {choices['dtype_reason']}. Weights are trained in fp32.")
    if checkpoint:
        print(f"Going on from step {checkpoint.name.rpartition('-')[2]} of {plan['max_steps']}.")

    quiet_libraries()
    seed_everything(seed)
    trained = _with_adapters(lm, seed) if lora else lm.model
    sample = None if validation is None else texts_of(validation)[:VALIDATION_SAMPLE]
    fifth = max(1, plan["max_steps"] // 5)
    curve = Curve(
        folder / "curve.jsonl",
        plan["batch_size"] * train.block_size,
        None if sample is None else lambda: evaluate(replace(lm, model=trained), sample, "validation sample").perplexity,
        max(LOGGING_STEPS, round(fifth / LOGGING_STEPS) * LOGGING_STEPS),
        draw,
    )
    if checkpoint:
        curve.restore(int(checkpoint.name.rpartition("-")[2]))
    stop = CleanStop()
    callbacks = [curve, MarkComplete(), stop]
    lm.trained = True
    try:
        steps = _train(trained, train, folder, plan, choices, checkpoint_steps or fifth, report_to, callbacks, checkpoint)
        tuned = replace(lm, model=trained.merge_and_unload() if lora else trained)  # type: ignore[operator]
        tuned.model.eval()
        save_model(tuned, folder / "model")
    except Exception as error:  # safetensors raises its own kind when a disk is full
        if disk_is_full(error):
            raise MachineError(f"The disk is full; the unfinished run is {folder}.", "Free some space, then pass resume=True.") from error
        raise
    folders.finish(target)
    return Finetuned(
        tuned,
        target,
        curve.rows,
        steps,
        steps * plan["batch_size"] * train.block_size,
        curve.rows[-1]["seconds"] if curve.rows else curve.seconds,
        choices,
        {name: value for name, value in plan.items() if name != "blocks_sha256"},
    )


def _plan(
    lm: LanguageModel, train: Packed, rate: float | None, batch: int | None, epochs: float | None, steps: int | None, seed: int, lora: bool
) -> dict[str, Any]:
    """Every value that decides the result, with None resolved; a resumed run must have the same."""
    defaults = lm.defaults
    batch = defaults.batch_size if batch is None else batch
    rate = defaults.learning_rate * (10 if lora else 1) if rate is None else rate
    if batch < 1 or not rate > 0:
        raise InputError(f"batch_size is {batch} and learning_rate is {rate}.", "Both must be above zero.")
    if (epochs is not None and not epochs > 0) or (steps is not None and steps < 1):
        raise InputError(f"epochs is {epochs} and max_steps is {steps}.", "Give a number above zero, or None.")
    if steps is None:
        steps = defaults.max_steps if epochs is None else max(1, math.ceil(epochs * len(train) / batch))
    return {
        "model": lm.profile.name if lm.profile else lm.name,
        "learning_rate": rate,
        "batch_size": batch,
        "block_size": train.block_size,
        "max_steps": steps,
        "seed": seed,
        "lora": lora,
        "blocks_sha256": hashlib.sha256(train.input_ids.tobytes()).hexdigest(),
    }


def _choices(dtype: str | None) -> dict[str, Any]:
    if dtype is not None and dtype not in {"fp32", "bf16", "fp16"}:
        raise InputError(f"dtype is {dtype!r}.", 'Give "fp32", "bf16" or "fp16", or None to have it measured.')
    chosen = choose_dtype() if dtype is None else NumberFormat(dtype, "asked for", {})
    return {"dtype": chosen.name, "dtype_reason": chosen.reason, "gflops": chosen.gflops, "device": str(device())}


def _with_adapters(lm: LanguageModel, seed: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MachineError("LoRA needs the package peft, which is not installed.", "Run: pip install peft   (the extra [lora])") from error
    gpt2 = lm.model.config.model_type == "gpt2"
    # GPT-2's layers are Conv1D: their weights are transposed against nn.Linear.
    target = ["c_attn", "c_proj", "c_fc"] if gpt2 else "all-linear"
    return get_peft_model(lm.model, LoraConfig(r=16, lora_alpha=32, target_modules=target, fan_in_fan_out=gpt2, task_type="CAUSAL_LM"))


def _train(
    model: Any, train: Packed, folder: Path, plan: dict[str, Any], choices: dict[str, Any], save_steps: int, report_to: str,
    callbacks: list[Any], checkpoint: Path | None,
) -> int:  # fmt: skip
    from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

    where = device().type
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=plan["batch_size"],
        max_steps=plan["max_steps"],
        learning_rate=plan["learning_rate"],
        warmup_steps=min(50, plan["max_steps"] // 10),
        lr_scheduler_type="linear",
        seed=plan["seed"],
        bf16=choices["dtype"] == "bf16",
        fp16=choices["dtype"] == "fp16",
        use_cpu=where == "cpu",
        logging_steps=LOGGING_STEPS,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_steps=save_steps,
        save_total_limit=2,
        report_to=report_to,
        disable_tqdm=True,
        dataloader_pin_memory=where == "cuda",
    )
    cache, model.config.use_cache = model.config.use_cache, False  # with a cache, documents in a block would attend to each other
    trainer = Trainer(model=model, args=arguments, train_dataset=train, callbacks=callbacks)  # type: ignore[arg-type]
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    stop = next(one for one in callbacks if isinstance(one, CleanStop))
    try:
        with stop.listening():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        model.config.use_cache = cache
    done = trainer.state.global_step
    if done < plan["max_steps"]:
        if stop.asked:
            problem = f"Stopped at step {done} of {plan['max_steps']}; a checkpoint is in {folder}."
            raise RunError(problem, "Go on with the same call and resume=True.")
        raise RunError(f"The loss was not a number at step {done} of {plan['max_steps']}.", "Start anew with a lower learning_rate.")
    return done
