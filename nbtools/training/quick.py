"""A fine-tuned model to work with: the one that notebook 04 made, or a quick one trained now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.data import load_reviews, pack
from nbtools.models import LanguageModel, load_model
from nbtools.storage import runs_folder
from nbtools.system import say
from nbtools.training.config import base_name
from nbtools.training.estimate import estimate
from nbtools.training.finetune import finetune

QUICK_STEPS = 60


def tuned_model(base: LanguageModel, folder: str | Path | None = None, *, dataset: str = "auto", seed: int = 0) -> LanguageModel:
    """The fine-tuned counterpart of `base`; a message says which one it is.

    Loaded from `folder`, or else from runs/tuned/<profile>. Where neither holds a model, a quick one is trained for a few steps and stored
    as runs/tuned/<profile>-quick, so that the next call finds it.
    """
    if folder is not None:
        return load_model(str(folder))
    name = Path(base_name(base)).name
    for candidate in (name, f"{name}-quick"):
        run = runs_folder() / "tuned" / candidate
        if (run / "model" / "config.json").is_file():
            say(f"Fine-tuned model: {candidate}, from notebook {'04' if candidate == name else '05 (a quick one)'}.")
            return load_model(str(run / "model"), verbose=False)
    say(f"No fine-tuned {name} was found, so a quick one is trained now: {quick_steps(base)} steps. Notebook 04 trains a better one.")
    reviews = load_reviews(dataset, base.defaults.max_reviews)
    fresh = load_model(base.name, verbose=False)
    packed = pack(reviews.train, fresh)
    settings: dict[str, Any] = {"output_dir": runs_folder() / "tuned" / f"{name}-quick", "max_steps": quick_steps(base), "seed": seed}
    say(estimate(fresh, packed, **settings))
    finetune(fresh, packed, **settings)
    return load_model(str(settings["output_dir"] / "model"), verbose=False)


def quick_steps(base: LanguageModel) -> int:
    """The optimizer steps of a quick training of `base`."""
    return min(QUICK_STEPS, base.defaults.max_steps)
