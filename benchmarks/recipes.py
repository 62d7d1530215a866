"""The ways to fine-tune that are compared, one function each, from the walkthrough's own to ours.

Every recipe gets the same `Work` and trains for `steps` optimizer steps with a linear schedule. Each returns the useful tokens of a step:
those that are predicted and are not padding, averaged over its whole data set, so that which reviews came first does not matter.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

import nbtools
from nbtools.models import LanguageModel
from nbtools.system import choose_dtype, choose_threads, device, keep_freed_memory, quiet_libraries, seed_everything

# GPT-2's 124M shape, and one for trying things out. The vocabulary of the first has room for smollm2's 49,152 tokens: GPT-2's own
# tokenizer is on the Hub only, and smollm2's is a byte-level BPE of the same kind and size.
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"profile": "smollm2", "block": 512, "shape": {}},
    "tiny": {"profile": "mini", "block": 64, "shape": {"vocab_size": 12_288, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}},
}
IGNORED = -100  # a label that the loss leaves out


@dataclass
class Work:
    """What a recipe trains, on what, and for how long. `compiled` is False only where a quick trial must not wait for a compiler."""

    lm: LanguageModel
    texts: Sequence[str]
    folder: Path
    block: int = 512
    batch: int = 2
    steps: int = 4
    learning_rate: float = 2e-5
    compiled: bool = True
    seed: int = 0
    callbacks: list[TrainerCallback] = field(default_factory=list)
    dtype: str = "fp32"
    """Number format of the passes; a recipe with mixed precision sets it."""


Recipe = Callable[[Work], float]


def random_gpt2(size: str, dropout: float | None = None, seed: int = 0) -> LanguageModel:
    """GPT-2 with random weights. dropout: None leaves what GPT2Config ships (0.1)."""
    from transformers import AutoTokenizer

    from nbtools.models import locate

    quiet_libraries()
    place, _, _ = locate(SIZES[size]["profile"])
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.eos_token = "<|endoftext|>"
    seed_everything(seed)
    model = GPT2LMHeadModel(GPT2Config(**SIZES[size]["shape"]))
    model.config.loss_type = model.loss_type = "ForCausalLM"
    if dropout is not None:
        set_dropout(model, dropout)
    model.to(device())  # type: ignore[arg-type]
    return LanguageModel(model.eval(), tokenizer, f"random-{size}", "random weights")


def set_dropout(model: Any, probability: float) -> None:
    """Set every dropout of a GPT-2, in its configuration and in its modules."""
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop"):
        setattr(model.config, name, probability)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability


def training_reviews(count: int) -> list[str]:
    """The first `count` training reviews, in the order of their hash: positive and negative ones mixed."""
    return list(nbtools.load_reviews("package", max_reviews=max(20, round(count / 0.8))).train["text"])


def _arguments(work: Work, **more: Any) -> dict[str, Any]:
    """What every Trainer here is given. No checkpoint is written while steps are timed, by none of the recipes."""
    plan = {
        "output_dir": str(work.folder / "trainer"),
        "per_device_train_batch_size": work.batch,
        "learning_rate": work.learning_rate,
        "max_steps": work.steps,
        "seed": work.seed,
        "use_cpu": device().type == "cpu",
        "dataloader_pin_memory": device().type == "cuda",
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return plan | more


def _mixed(work: Work) -> dict[str, Any]:
    """Mixed precision in the format that is fast here, and compilation."""
    name = work.dtype = choose_dtype().name
    return {"bf16": name == "bf16", "fp16": name == "fp16", "torch_compile": work.compiled}


def padded_rows(work: Work, right_labels: bool) -> list[dict[str, torch.Tensor]]:
    """Each review cut at, or padded to, `block` tokens with end-of-text.

    right_labels  True: labels are the tokens, and padding is left out of the loss. False: as in the walkthrough, labels are moved by
                  one although the model moves them too, and padding is learned like text
    """
    tokenizer = work.lm.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    given = tokenizer(list(work.texts), truncation=True, max_length=work.block, padding="max_length", return_tensors="pt")
    ids, mask = given["input_ids"], given["attention_mask"]
    if right_labels:
        labels = ids.masked_fill(mask == 0, IGNORED)
    else:
        labels = ids.roll(-1, dims=1)
        labels[:, -1] = tokenizer.pad_token_id
    return [{"input_ids": i, "attention_mask": m, "labels": wanted} for i, m, wanted in zip(ids, mask, labels, strict=True)]


def padded(work: Work, right_labels: bool, scheduler: Callable[[Any], Any] | None = None) -> float:
    """Trainer in fp32 on padded reviews. scheduler: makes a learning-rate schedule from the optimizer (None: linear over `steps`)."""
    rows = padded_rows(work, right_labels)
    trainer = Trainer(work.lm.model, TrainingArguments(**_arguments(work)), train_dataset=rows, callbacks=work.callbacks)  # type: ignore[arg-type]
    if scheduler:
        trainer.create_optimizer()
        trainer.lr_scheduler = scheduler(trainer.optimizer)
    trainer.train()
    return work.batch * statistics.mean(float(row["attention_mask"].sum()) - 1 for row in rows)


def walkthrough(work: Work) -> float:
    """The recipe that the course began from, with its mistakes left in."""
    return padded(work, right_labels=False)


def corrected(work: Work) -> float:
    """The same with the labels right."""
    return padded(work, right_labels=True)


def trainer(work: Work, **more: Any) -> float:
    """Trainer on packed blocks, in mixed precision, compiled; dropout as the model ships it."""
    packed = nbtools.pack(work.texts, work.lm, work.block)
    work.lm.model.config.use_cache = False  # else the documents of a block see each other
    arguments = TrainingArguments(**_arguments(work, **_mixed(work), **more))
    Trainer(work.lm.model, arguments, train_dataset=packed, callbacks=work.callbacks).train()  # type: ignore[arg-type]
    return work.batch * (work.block - 1)


@contextlib.contextmanager
def our_settings(model: Any) -> Iterator[None]:
    """For peers, what `nbtools.finetune` sets: no dropout, its number of threads, freed memory kept for the next step."""
    set_dropout(model, 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(choose_threads()[0])
    try:
        with keep_freed_memory():
            yield
    finally:
        torch.set_num_threads(threads)


def trainer_tuned(work: Work) -> float:
    """The same with every setting that we use, and the fused optimizer."""
    with our_settings(work.lm.model):
        return trainer(work, optim="adamw_torch_fused")


def trainer_linear_loss(work: Work) -> float:
    """The same with PyTorch's `linear_cross_entropy`, which computes the loss in chunks, in place of the model's own."""
    from transformers.modeling_outputs import CausalLMOutput

    model = work.lm.model

    def forward(input_ids: Any = None, labels: Any = None, position_ids: Any = None) -> Any:
        hidden = model.transformer(input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
        flat, chunked = hidden[:, :-1].flatten(0, 1), torch.nn.LinearCrossEntropyOptions()
        loss = torch.nn.functional.linear_cross_entropy(flat, model.lm_head.weight, labels[:, 1:].flatten(), options=chunked)
        return CausalLMOutput(loss=loss)

    model.forward = forward
    try:
        return trainer_tuned(work)
    finally:
        del model.forward


def trl(work: Work) -> float:
    """TRL's SFTTrainer, packed, in mixed precision, compiled, with every setting that we use.

    Its packing "wrapped" on purpose: blocks are then full and stay [batch, block], which compiles once. Its default ("bfd") lays the batch
    out as one row of changing length, for FlashAttention, which a processor does not have; eagerly it was as fast (200 to 245 tokens a
    second against 231 to 239).
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    work.lm.model.config.use_cache = False
    more = {"packing": True, "packing_strategy": "wrapped", "max_length": work.block, "optim": "adamw_torch_fused", "loss_type": "nll"}
    arguments = SFTConfig(**_arguments(work, **_mixed(work), **more, activation_checkpointing=False))
    sft = SFTTrainer(
        work.lm.model, args=arguments, train_dataset=Dataset.from_dict({"text": list(work.texts)}), processing_class=work.lm.tokenizer,
        callbacks=work.callbacks,
    )  # fmt: skip
    with our_settings(work.lm.model):
        sft.train()
    return work.batch * statistics.mean(len(ids) - 1 for ids in sft.train_dataset["input_ids"])  # type: ignore[index]


def ours(work: Work) -> float:
    """nbtools.finetune on packed blocks, as it chooses by itself."""
    packed = nbtools.pack(work.texts, work.lm, work.block)
    tuned = nbtools.finetune(
        work.lm, packed, output_dir=work.folder / "tuned", batch_size=work.batch, max_steps=work.steps, learning_rate=work.learning_rate,
        seed=work.seed, checkpoint_steps=work.steps, callbacks=work.callbacks,
    )  # fmt: skip
    work.dtype = tuned.choices.dtype
    return work.batch * (work.block - 1)


RECIPES: dict[str, Recipe] = {
    "walkthrough": walkthrough,
    "corrected": corrected,
    "trainer": trainer,
    "trainer_tuned": trainer_tuned,
    "trainer_linear_loss": trainer_linear_loss,
    "trl": trl,
    "ours": ours,
}


class Stamps(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        self.ends.append(time.perf_counter())

    def durations(self) -> list[float]:
        """Seconds from each step's end to the next one's."""
        return [later - earlier for earlier, later in zip(self.ends, self.ends[1:], strict=False)]


def throughput(recipe: str, size: str, steps: int, warm_up: int, batch: int, reviews: int, compiled: bool) -> dict[str, Any]:
    """Train by `recipe` for `steps` steps, of which the first `warm_up` do not count.

    Returns tokens_per_second (useful ones, at the median step), step_seconds (every counted step), useful_tokens_per_step,
    first_step_seconds (from the recipe's call to the end of its first step: data, compilation), parameters, and the format of the passes.
    """
    lm = random_gpt2(size)
    texts = training_reviews(reviews)
    stamps = Stamps()
    with tempfile.TemporaryDirectory() as folder:
        work = Work(lm, texts, Path(folder), SIZES[size]["block"], batch, steps, compiled=compiled, callbacks=[stamps])
        stamps.begun = time.perf_counter()
        useful = RECIPES[recipe](work)
    counted = stamps.durations()[warm_up - 1 :]
    return {
        "tokens_per_second": useful / statistics.median(counted),
        "useful_tokens_per_step": useful,
        "step_seconds": [round(seconds, 4) for seconds in counted],
        "first_step_seconds": round(stamps.ends[0] - stamps.begun, 3),
        "parameters": lm.parameters,
        "dtype": work.dtype,
    }
