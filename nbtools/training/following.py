"""A run as its files tell it: while it trains in another process, and afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.generation import generate
from nbtools.runtime import resolve_path, write_text
from nbtools.runtime.foreign import Maybe, Whole, read_json, read_json_lines
from nbtools.training.folders import BROKEN, unfinished

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

SAMPLES = "samples.jsonl"
SAMPLE_TOKENS = 40
PLAN = {"max_steps": Maybe(Whole(1))}
ROW = {"step": Whole(1), "seconds": float}
SAMPLE = {"step": Whole(0), "texts": [[str]]}
REMEDY = "Train again into another output_dir."
QUIET_SECONDS = 120  # without a new row, a run that nobody holds counts as not running


@dataclass(frozen=True)
class RunState:
    """What is known of a run.

    state    "waiting" (no row yet), "running", "stopped", "finished" or "broken" (a number was none)
    rows     of the curve; samples: one a score, with `step` and `texts` (pairs of prompt and continuation); plan: with every value resolved
    line     one line for a person
    """

    state: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)
    line: str = ""

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far; None before the first row."""
        if not self.rows or "max_steps" not in self.plan:
            return None
        last = self.rows[-1]
        return float(last["seconds"] / last["step"] * (self.plan["max_steps"] - last["step"]))


def read_run(output_dir: str | Path) -> RunState:
    """The state of the run that `output_dir` is, or is to be, the folder of. Raises InputError where there is none."""
    target = resolve_path(output_dir)
    folder = unfinished(target) if unfinished(target).is_dir() else target
    if not (folder / "plan.json").is_file():
        raise InputError(f"There is no run in {target}.", "Name the output_dir of a fine-tuning.")
    plan = read_json(folder / "plan.json", PLAN, REMEDY)
    rows, samples = read_json_lines(folder / "curve.jsonl", ROW), read_json_lines(folder / SAMPLES, SAMPLE)
    if folder == target:
        return RunState("finished", rows, samples, plan, "finished")
    if (folder / BROKEN).is_file():
        problem = read_json(folder / BROKEN, {"problem": str}, REMEDY)["problem"]
        return RunState("broken", rows, samples, plan, problem)
    newest = max(path.stat().st_mtime for path in (folder, folder / "plan.json", folder / "curve.jsonl") if path.exists())
    if time.time() - newest > QUIET_SECONDS:
        return RunState("stopped", rows, samples, plan, "no news for a while: stopped, or very slow; resume=True goes on")
    return RunState("running" if rows else "waiting", rows, samples, plan, "running" if rows else "choosing, compiling, beginning")


def log_samples(folder: Path, step: int, lm: LanguageModel, prompts: Sequence[str]) -> None:
    """Continue each prompt greedily and keep the texts. A resumed run comes to some steps twice: the later text counts."""
    texts = generate(lm, list(prompts), max_new_tokens=min(SAMPLE_TOKENS, lm.context // 2))
    row = {"step": step, "texts": [[prompt, text[len(prompt) :]] for prompt, text in zip(prompts, texts, strict=True)]}
    earlier = [one for one in read_json_lines(folder / SAMPLES, SAMPLE) if one["step"] < step]
    write_text(folder / SAMPLES, "".join(json.dumps(one) + "\n" for one in [*earlier, row]))
