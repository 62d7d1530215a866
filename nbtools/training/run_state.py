"""Read the state of a run from its files, during training (in another process) and afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.generation import generate
from nbtools.models import LanguageModel
from nbtools.storage import resolve_path, write_text
from nbtools.storage.json_files import read_json, read_json_lines
from nbtools.storage.shapes import Maybe, Whole
from nbtools.training.checkpoints import BROKEN, unfinished

SAMPLES = "samples.jsonl"
SAMPLE_TOKENS = 40
# As in the notebooks, with one seed, so that only the weights differ from text to text. Greedy text of a small model repeats itself and
# hardly shows what training changes.
DECODING: dict[str, Any] = {"seed": 0, "temperature": 0.7, "top_k": 50, "top_p": 0.95}
PLAN = {"max_steps": Maybe(Whole(1))}
ROW = {"step": Whole(1), "seconds": float}
SAMPLE = {"step": Whole(0), "texts": [[str]]}
REMEDY = "Train again into another output_dir."
QUIET_SECONDS = 120  # a run counts as stopped when its files have not changed for this long


@dataclass(frozen=True)
class RunState:
    """The state of a run."""

    state: str
    """ "waiting" (no row yet), "running", "stopped", "finished" or "broken" (a value was not finite)."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the curve."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """One entry per evaluation, with `step` and `texts` (pairs of prompt and continuation)."""
    plan: dict[str, Any] = field(default_factory=dict)
    """Content of plan.json."""
    line: str = ""
    """The state in one line."""

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the speed so far; None before the first row."""
        if not self.rows or "max_steps" not in self.plan:
            return None
        last = self.rows[-1]
        return float(last["seconds"] / last["step"] * (self.plan["max_steps"] - last["step"]))


def read_run(output_dir: str | Path) -> RunState:
    """Return the state of the run whose final folder is `output_dir`. Raises InputError if there is no such run."""
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
        return RunState("stopped", rows, samples, plan, "nothing new for a while: stopped, or very slow; resume=True continues it")
    return RunState("running" if rows else "waiting", rows, samples, plan, "running" if rows else "starting: measuring, compiling")


def log_samples(folder: Path, step: int, lm: LanguageModel, prompts: Sequence[str]) -> None:
    """Sample a continuation of each prompt, always with the same seed, and append the texts to samples.jsonl.

    A resumed run reaches some steps twice: the later text counts.
    """
    texts = generate(lm, list(prompts), max_new_tokens=min(SAMPLE_TOKENS, lm.context // 2), **DECODING)
    row = {"step": step, "texts": [[prompt, text[len(prompt) :]] for prompt, text in zip(prompts, texts, strict=True)]}
    earlier = [sample for sample in read_json_lines(folder / SAMPLES, SAMPLE) if sample["step"] < step]
    write_text(folder / SAMPLES, "".join(json.dumps(sample) + "\n" for sample in [*earlier, row]))
