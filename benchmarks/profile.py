"""Where the time of a training step goes: the walkthrough's recipe, the best peer, and ours, under torch.profiler.

    python -m benchmarks.profile [--quick] [--out FILE]

Each operator's own time (without what it calls) is summed over a few steps and sorted into groups by its name. The profiler itself costs
some time, so the shares are what to read; tokens a second are measured without it, in finetune_throughput.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call

NAME = "profile"
RECIPES = ("walkthrough", "trainer_tuned", "ours")
# The first group whose pattern is found in an operator's name. Compiled kernels are called after what was fused into them. In GPT-2 only
# attention multiplies in batches (bmm), only a loss takes exponentials outside a softmax, and only Adam takes a square root.
GROUPS = (
    ("optimizer", r"adam|Optimizer|_foreach|optimizer|clip_grad|(?<!r)sqrt"),
    ("loss", r"cross_entropy|nll_loss|log_softmax|logsumexp|_exp_|::(exp|amax|log)$"),
    ("attention", r"attention|flash|_softmax|::(bmm|baddbmm)$"),
    ("matrix products", r"::(mm|addmm|addmm_|linear|matmul|mkldnn\w*|_addmm\w*|_linear\w*)$|mkldnn::|onednn|packed_linear|gemm"),
    (
        "pointwise",
        r"fused|::(add|sub|mul|div|pow|tanh|gelu|sum|mean|rsub|neg|native_layer_norm|layer_norm|native_dropout|dropout|bernoulli|where|"
        r"masked_fill|copy|_to_copy|cat|zero|fill|embedding|clone|contiguous|index)\w*$",
    ),
)
OTHER = "data and other"


def group_of(name: str) -> str:
    return next((group for group, pattern in GROUPS if re.search(pattern, name)), OTHER)


def profiled(recipe: str, size: str, skip: int, steps: int, reviews: int, compiled: bool) -> dict[str, Any]:
    """Milliseconds a step by group, the twelve operators that took most, and the wall time of a step.

    skip  steps before the profiler starts: compilation and first touches are no part of a step
    """
    from torch.profiler import ProfilerActivity, profile
    from transformers import TrainerCallback

    from benchmarks.recipes import RECIPES, SIZES, Work, random_gpt2, training_reviews

    watched = profile(activities=[ProfilerActivity.CPU])

    class Watch(TrainerCallback):
        begun = seconds = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            if state.global_step == skip:
                watched.start()
                self.begun = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            if state.global_step == skip + steps:
                self.seconds = time.perf_counter() - self.begun
                watched.stop()

    watch = Watch()
    lm, texts = random_gpt2(size), training_reviews(reviews)
    with tempfile.TemporaryDirectory() as folder:
        # One step more than is watched: what a recipe does at its end is no part of a step.
        work = Work(lm, texts, Path(folder), SIZES[size]["block"], steps=skip + steps + 1, compiled=compiled, callbacks=[watch])
        RECIPES[recipe](work)
    groups = dict.fromkeys([name for name, _ in GROUPS] + [OTHER], 0.0)
    operators = []
    for event in watched.key_averages():
        spent = event.self_cpu_time_total / 1000 / steps  # the profiler counts microseconds
        groups[group_of(event.key)] += spent
        operators.append([event.key[:100], round(spent, 2)])
    wall = watch.seconds * 1000 / steps
    groups[OTHER] += max(0.0, wall - sum(groups.values()))  # Python between the operators, the data loader
    operators.sort(key=lambda pair: -pair[1])
    return {
        "groups": {name: round(spent, 2) for name, spent in groups.items()},
        "operators": operators[:12],
        "step_milliseconds": round(wall, 1),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    size, reviews = ("tiny", 40) if options.quick else ("gpt2", 120)
    calls: dict[str, harness.Planned] = {}
    for recipe in RECIPES:
        skip, steps = (1, 1) if options.quick else (1, 2) if recipe == "walkthrough" else (4, 4)
        arguments = {"recipe": recipe, "size": size, "skip": skip, "steps": steps, "reviews": reviews, "compiled": not options.quick}
        # Compiled kernels show up by name only when they are compiled to be profiled.
        calls[recipe] = Call("benchmarks.profile:profiled", arguments, {"TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE": "1"})
    raw = harness.rounds(calls, 1)
    summary = {recipe: rows[0] for recipe, rows in raw.items()}
    return {"settings": {"batch": 2, "size": size}, "summary": summary, "goals": [], "raw": raw}


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
