"""Seconds of one training step: plain transformers against the fast path, on the same packed batch.

    python -m benchmarks.training_step [--rounds N] [--models MODEL ...] [--quick] [--out FILE]

A step is a forward and a backward pass and the optimizer's step. Plain transformers is `model(**batch).loss` with SDPA, under autocast in
bf16, with PyTorch's fused AdamW. The fast path is what `nbtools.training.choices` chooses for the format. Both have the same
weights, threads and allocator settings and no dropout, and are in one process, in which their steps alternate; the best step of each
counts. bf16 is left out where its matrix product takes more than five times as long as in fp32, as it does where it is emulated.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, spread

NAME = "training_step"
STEPS = 5  # of each way per round, after one that warms up
EMULATED = 0.2  # the least speed of bf16 products that is measured, as a share of fp32's


@dataclass(frozen=True)
class Case:
    """A model and its batch."""

    batch: int
    """Blocks per step."""
    block: int = 512
    """Tokens per block."""
    reviews: int = 60
    """Number of reviews that the blocks are packed from."""


CASES = {"mini": Case(4), "smollm2": Case(2), "gpt2": Case(2)}
QUICK = {"tiny": Case(2, 64, 20)}


def load(model: str) -> Any:
    """The profile of that name, or a shape of benchmarks.recipes with random weights."""
    import nbtools
    from benchmarks.recipes import SIZES, random_gpt2

    return random_gpt2(model) if model in SIZES else nbtools.load_model(model, verbose=False)


def measured(model: str, dtype: str, batch: int, block: int, reviews: int, steps: int) -> Row:
    """The seconds of `steps` steps of each way, in turns, and the best; the first step's losses; tokens of a step; parameters."""
    import torch

    import nbtools
    from benchmarks.recipes import training_reviews
    from nbtools.accel.adamw import MasterAdamW
    from nbtools.system import keep_freed_memory
    from nbtools.training.choices import FORMATS, fast_path, first_batch, measure_choices
    from nbtools.training.config import FinetuneConfig
    from nbtools.training.loop import override_dropout

    lm = load(model)
    packed = nbtools.pack(training_reviews(reviews), lm, block)
    inputs = first_batch(packed, batch)
    config = FinetuneConfig(dtype=dtype, compile=False, batch_size=batch, max_steps=steps).resolve(lm, packed)
    choices = measure_choices(lm.model, inputs, config)
    torch.set_num_threads(choices.threads)
    plain, other = lm.model.train(), copy.deepcopy(lm.model).train()
    plain.set_attn_implementation("sdpa")
    fast = fast_path(other, choices)
    assert fast is not None, "the models here are of families that the fast path knows"
    fast.engage()
    settings: dict[str, Any] = {"lr": 1e-5, "weight_decay": 0.0}
    optimizers: dict[str, Any] = {"plain": torch.optim.AdamW(plain.parameters(), fused=True, **settings)}
    if choices.bf16_copies:
        optimizers["fast"] = MasterAdamW(other.parameters(), masters=fast.masters, **settings)
    else:
        optimizers["fast"] = torch.optim.AdamW(other.parameters(), fused=True, **settings)

    def plain_loss() -> Any:
        with torch.autocast("cpu", FORMATS[dtype], enabled=dtype != "fp32"):
            return plain(**inputs, use_cache=False).loss

    losses: dict[str, Callable[[], Any]] = {"plain": plain_loss, "fast": lambda: other(**inputs, use_cache=False).loss}
    seconds: dict[str, list[float]] = {way: [] for way in losses}
    first: dict[str, float] = {}
    with keep_freed_memory(), override_dropout(plain, 0.0), override_dropout(other, 0.0):
        for _ in range(1 + steps):
            for way, compute in losses.items():
                start = time.perf_counter()
                loss = compute()
                loss.backward()
                optimizers[way].step()
                optimizers[way].zero_grad()
                seconds[way].append(time.perf_counter() - start)
                first.setdefault(way, float(loss.detach()))
    best = {f"{way}_seconds": min(taken[1:]) for way, taken in seconds.items()}
    chosen = {"threads": choices.threads, "onednn": choices.onednn, "bf16_copies": choices.bf16_copies}
    return {
        **best,
        "ratio": best["plain_seconds"] / best["fast_seconds"],
        "steps": {way: [round(one, 4) for one in taken[1:]] for way, taken in seconds.items()},
        "losses": first,
        "tokens": batch * block,
        "parameters": lm.parameters,
        "choices": chosen,
    }


def worthwhile(speed: Row) -> list[str]:
    """The formats to measure on a machine with these speeds."""
    return ["fp32", "bf16"] if speed["bf16_gflops"] >= EMULATED * speed["fp32_gflops"] else ["fp32"]


def summarize(raw: dict[str, list[Row]], cases: dict[str, Case]) -> dict[str, Any]:
    """Medians with spread by model and format. The share of the peak is that of the format, measured in the same round."""
    summary: dict[str, Any] = {}
    for name, rows in raw.items():
        if name == "machine":
            continue
        model, _, dtype = name.partition(", ")
        peaks = column(raw["machine"], f"{dtype}_gflops")
        # Six operations per parameter and token: two forward, four backward.
        done = [6 * row["parameters"] * row["tokens"] / row["fast_seconds"] / 1e9 for row in rows]
        summary[name] = {one: spread(column(rows, one)) for one in ("plain_seconds", "fast_seconds", "ratio")}
        summary[name] |= {
            "batch": cases[model].batch,
            "block": cases[model].block,
            "tokens_per_second": spread([row["tokens"] / row["fast_seconds"] for row in rows]),
            "share_of_peak": spread([gflops / peak for gflops, peak in zip(done, peaks, strict=True)]),
        }
    return summary


def run(options: argparse.Namespace) -> dict[str, Any]:
    cases = QUICK if options.quick else {name: CASES[name] for name in options.models}
    machine = Call("benchmarks.machine:speed", {"seconds": 0.02, "megabytes": 32, "sizes": [256]} if options.quick else {})
    formats = worthwhile(harness.measure(machine))
    steps = 2 if options.quick else STEPS
    planned: dict[str, harness.Planned] = {"machine": machine}
    for model, case in cases.items():
        for dtype in formats:
            arguments = {"model": model, "dtype": dtype, "steps": steps, **vars(case)}
            planned[f"{model}, {dtype}"] = Call("benchmarks.training_step:measured", arguments)
    raw = harness.rounds(planned, options.rounds)
    summary = summarize(raw, cases)
    goals = [
        goal(f"{model}, speed of a training step, as a multiple of plain transformers'", one["ratio"]["median"], 1.0, format=dtype)
        for (model, _, dtype), one in ((name.partition(", "), one) for name, one in summary.items())
    ]
    return {
        "settings": {"steps": steps, "left_out": [dtype for dtype in ("fp32", "bf16") if dtype not in formats]},
        "machine_speed": {name: spread(column(raw["machine"], name)) for name in ("fp32_gflops", "bf16_gflops")},
        "summary": summary,
        "goals": goals,
        "raw": raw,
    }


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES), help="which models (default: all)")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
