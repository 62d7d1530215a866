"""How much sooner our fine-tuning reaches the perplexity that the corrected walkthrough recipe reaches in a fixed time, with real weights.

    python -m benchmarks.time_to_perplexity [--rounds N] [--models MODEL ...] [--rounds-MODEL N] [--budget-MODEL S] ...

A pair is one run of the corrected recipe for its budget, then ours until it is as good. The corrected recipe's learning rate falls to
zero over exactly its own budget, so that it ends as good as it can be. Ours runs a plan of its own, with its own schedule and batch
(small ones learn most from each token so early; the recipe's is two reviews), and is asked every few steps; the plan is longer than it
turns out to need, so its learning rate is still high when the answer comes. Ours uses the profile's learning rate; the recipe the best
of several, each tried once for the whole budget before the first pair. Both see the same reviews, with the dropout of the model's own
configuration, none in either. Our clock runs from the call of `finetune`, compilation with an empty compiler's cache included; the other's
begins with its first step. Loading the model, tokenizing and scoring count for neither. A plan that ends without having reached the
perplexity counts as not reached, and a recipe that leaves the model no better than it was sets no goal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, ratio, spread

NAME = "time_to_perplexity"
GOAL = 6.0


@dataclass(frozen=True)
class Contest:
    """One model's contest.

    budget  seconds of the recipe; scored: validation reviews; batch, steps: our plan; every: steps between two looks from `first` on
    rates   learning rates that the recipe tries, as multiples of the profile's
    """

    budget: float
    scored: int
    batch: int
    steps: int
    first: int
    every: int
    rates: tuple[float, ...]
    reviews: int | None = None  # None: the profile's


CONTESTS = {
    "mini": Contest(60, 32, 2, 72, 12, 4, (0.25, 0.5, 1)),
    "smollm2": Contest(120, 8, 1, 40, 8, 2, (0.4, 0.8, 1.6)),
}
QUICK = {"mini": Contest(1.5, 2, 4, 6, 2, 2, (0.1, 1), 40)}


def _prepared(profile: str, reviews: int | None, scored: int) -> tuple[Any, list[str], list[str]]:
    """The model, the training reviews, and the validation reviews that are scored."""
    import nbtools

    lm = nbtools.load_model(profile, verbose=False)
    data = nbtools.load_reviews("package", max_reviews=reviews or lm.defaults.max_reviews)
    return lm, list(data.train["text"]), list(data.validation["text"])[:scored]


def spend(profile: str, budget: float, right_labels: bool, reviews: int | None, scored: int, times: float) -> Row:
    """Train by the walkthrough's recipe for `budget` seconds at `times` the profile's rate, its labels corrected or as they were."""
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import TrainerCallback

    import nbtools
    from benchmarks.recipes import Work, padded

    lm, train, texts = _prepared(profile, reviews, scored)
    before = nbtools.evaluate(lm, texts).perplexity

    class Clock(TrainerCallback):
        begun = now = 0.0
        steps = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            self.begun = self.now = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            self.now, self.steps = time.perf_counter(), state.global_step
            control.should_training_stop = self.now - self.begun >= budget

    clock = Clock()

    def falls_to_zero(optimizer: Any) -> Any:
        """Linear in time, not in steps: how many of those fit is known only afterwards."""
        return LambdaLR(optimizer, lambda step: max(0.0, 1 - (time.perf_counter() - clock.begun) / budget) if step else 1.0)

    with tempfile.TemporaryDirectory() as folder:
        block = min(512, lm.context)
        rate = times * lm.defaults.learning_rate
        useful = padded(
            Work(lm, train, Path(folder), block, steps=10**6, learning_rate=rate, callbacks=[clock]), right_labels, falls_to_zero
        )
    after = nbtools.evaluate(lm, texts).perplexity
    return {
        "perplexity": after,
        "before": before,
        "learning_rate": rate,
        "seconds": clock.now - clock.begun,
        "steps": clock.steps,
        "tokens": round(clock.steps * useful),
    }


class _ReachedError(Exception):
    """Leaves the training from inside a callback."""


def reach(profile: str, target: float, contest: dict[str, Any]) -> Row:
    """Train by nbtools.finetune until the perplexity is `target` or less. `seconds` is None where the plan ended before that."""
    from transformers import TrainerCallback

    import nbtools
    from nbtools.system import choose_dtype

    plan = Contest(**contest)
    lm, train, texts = _prepared(profile, plan.reviews, plan.scored)
    packed = nbtools.pack(train, lm)
    copy = nbtools.load_model(profile, verbose=False)

    class Look(TrainerCallback):
        def __init__(self) -> None:
            self.begun, self.paused = time.perf_counter(), 0.0
            self.seen: list[list[float]] = []  # step, seconds, perplexity

        def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            step = state.global_step
            if step < plan.first or (step - plan.first) % plan.every:
                return
            now = time.perf_counter()
            # A second model reads the weights: that which is trained may be in a form that only training understands.
            copy.model.load_state_dict(keywords["model"].state_dict())
            perplexity = nbtools.evaluate(copy, texts).perplexity
            self.seen.append([step, round(now - self.begun - self.paused, 3), perplexity])
            self.paused += time.perf_counter() - now
            if perplexity <= target:
                raise _ReachedError

    reached = False
    with tempfile.TemporaryDirectory() as folder:
        look = Look()
        try:
            nbtools.finetune(
                lm, packed, output_dir=Path(folder, "tuned"), batch_size=plan.batch, max_steps=plan.steps, checkpoint_steps=plan.steps,
                callbacks=[look],
            )  # fmt: skip
        except _ReachedError:
            reached = True
    step, seconds, perplexity = look.seen[-1]
    return {
        "seconds": seconds if reached else None,
        "steps": int(step),
        "perplexity": perplexity,
        "seen": look.seen,
        "dtype": choose_dtype().name,  # as the fine-tuning chose: it is measured once per process
    }


def recipe(profile: str, contest: Contest, right_labels: bool, times: float) -> Call:
    spent = {"profile": profile, "budget": contest.budget, "reviews": contest.reviews, "scored": contest.scored, "times": times}
    return Call("benchmarks.time_to_perplexity:spend", spent | {"right_labels": right_labels})


def contest_calls(profile: str, contest: Contest, times: float) -> dict[str, harness.Planned]:
    """One pair: the corrected recipe at `times` the profile's learning rate, then ours against what that reached in this round."""

    def ours(rows: dict[str, Row]) -> Call:
        arguments = {"profile": profile, "target": rows["corrected"]["perplexity"], "contest": vars(contest)}
        return Call("benchmarks.time_to_perplexity:reach", arguments)

    return {"corrected": recipe(profile, contest, True, times), "ours": ours}


def summarize(raw: dict[str, list[Row]]) -> dict[str, Any]:
    """The medians of one contest; `sooner` is how many times sooner ours was there, None where it missed it in any round, or where the
    corrected recipe set no goal in one."""
    corrected, ours = raw["corrected"], raw["ours"]
    reached = all(row["seconds"] is not None for row in ours)
    improved = all(row["perplexity"] < row["before"] for row in corrected)
    found: dict[str, Any] = {
        "before": corrected[0]["before"],
        "learning_rate": corrected[0]["learning_rate"],
        "corrected_perplexity": spread(column(corrected, "perplexity")),
        "corrected_seconds": spread(column(corrected, "seconds")),
        "corrected_steps": spread(column(corrected, "steps")),
        "walkthrough_perplexity": raw["walkthrough"][0]["perplexity"],
        "ours_steps": spread(column(ours, "steps")),
        "ours_seconds": spread(column(ours, "seconds")) if reached else None,
        "sooner": ratio(column(corrected, "seconds"), column(ours, "seconds")) if reached and improved else None,
    }
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    asked = {name: one for name, one in CONTESTS.items() if name in options.models}
    contests = QUICK if options.quick else {name: replace(one, budget=getattr(options, f"budget_{name}")) for name, one in asked.items()}
    raw, summary = {}, {}
    for profile, contest in contests.items():
        pairs = getattr(options, f"rounds_{profile}", None) or options.rounds
        harness.say(f"{profile}: {contest.budget:g} seconds of the corrected walkthrough at each of {len(contest.rates)} learning rates")
        tried = harness.rounds({f"{times:g} times the profile's": recipe(profile, contest, True, times) for times in contest.rates}, 1)
        rates = [rows[0] for rows in tried.values()]
        found = ", ".join(f"{row['perplexity']:.1f} at {row['learning_rate']:g}" for row in rates)
        harness.say(f"{profile}: perplexity {rates[0]['before']:.1f} before, {found}")
        _, best = min(zip(column(rates, "perplexity"), contest.rates, strict=True))
        harness.say(f"{profile}: the same at {best:g} times the profile's learning rate, which served it best, against ours, {pairs} pairs")
        raw[profile] = {"rates": rates, **harness.rounds(contest_calls(profile, contest, best), pairs)}
        harness.say(f"{profile}: the walkthrough as it was, once")
        raw[profile]["walkthrough"] = [harness.measure(recipe(profile, contest, False, best))]
        summary[profile] = summarize(raw[profile])
    goals = [
        goal(f"times sooner at the corrected recipe's perplexity, {name}", one["sooner"], GOAL, format=raw[name]["ours"][0]["dtype"])
        for name, one in summary.items()
    ]
    return {"settings": {name: vars(one) for name, one in contests.items()}, "summary": summary, "goals": goals, "raw": raw}


def options() -> argparse.ArgumentParser:
    made = harness.parser(__doc__)
    made.add_argument("--models", nargs="+", choices=list(CONTESTS), default=list(CONTESTS), help="which models (default: all)")
    for name, one in CONTESTS.items():
        made.add_argument(f"--rounds-{name}", type=int, help=f"pairs on {name} (default: --rounds)")
        made.add_argument(f"--budget-{name}", type=float, default=one.budget, help=f"seconds for the recipe on {name} ({one.budget:g})")
    return made


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, options()))
