"""The prompt lab's settings: which values are off, the `SamplingParams` they stand for, and code that repeats them."""

from __future__ import annotations

import shlex
from typing import Any

from nbtools.generation import SamplingParams
from nbtools.models import LanguageModel

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""The values that leave the distribution as it is."""
BEAMS = 4


def switched_on(settings: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The settings in `names` whose value is not off."""
    return {name: settings[name] for name in names if settings[name] != OFF[name]}


def sampling_options(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as options of `nbtools.generate`; without any sampling option where the temperature is 0 (greedy)."""
    if not settings["temperature"]:
        return switched_on(settings, ["repetition_penalty"])
    return {"temperature": settings["temperature"], **switched_on(settings, list(OFF))}


def to_sampling_params(settings: dict[str, Any]) -> SamplingParams:
    """The settings as `SamplingParams`. Raises InputError for an invalid value."""
    return SamplingParams(**_options(settings))


def check_settings(**settings: Any) -> dict[str, Any]:
    """The settings with Python's own numbers, and the off value in place of None. Raises InputError for an invalid value, off or not."""
    settings = {name: OFF.get(name) if value is None else value for name, value in settings.items()}
    params = SamplingParams(**settings)
    return {name: getattr(params, name) for name in settings}


def ways_of_decoding(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of `nbtools.generate` for greedy decoding, sampling and beam search, by a description of each."""
    penalty = switched_on(settings, ["repetition_penalty"])
    sampled = {"temperature": settings["temperature"] or 1.0, **switched_on(settings, ["top_k", "top_p", "min_p"])}
    return {
        "greedy": penalty,
        SamplingParams(**sampled).describe(): sampled | penalty,
        f"beam search, {BEAMS} beams": {"num_beams": BEAMS, **penalty},
    }


def python_code(lm: LanguageModel, prompt: str, settings: dict[str, Any]) -> str:
    """Python code that prints the text of `prompt` with these settings."""
    written = ", ".join(f"{name}={value!r}" for name, value in _options(settings).items())
    return f"import nbtools\n\nlm = nbtools.load_model({_model(lm)!r})\nprint(nbtools.generate(lm, {prompt!r}, {written}))"


def papermill_command(lm: LanguageModel, prompt: str, settings: dict[str, Any]) -> str:
    """The papermill command that runs notebook 03 with these settings; the notebook has no parameter for the repetition penalty."""
    values = {"profile": _model(lm), "short_prompt": prompt, **_options(settings)}  # the name of the lab's prompt in notebook 03
    if settings["temperature"] == 0:
        values["temperature"] = 0  # greedy; without it the notebook's own value would apply
    options = " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in values.items() if name != "repetition_penalty")
    return f"papermill notebooks/03_generation.ipynb out.ipynb {options}"


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    return {"max_new_tokens": settings["max_new_tokens"], "seed": settings["seed"], **sampling_options(settings)}


def _model(lm: LanguageModel) -> str:
    """What `nbtools.load_model` takes for this model."""
    return lm.profile.name if lm.profile and lm.name == lm.profile.name else lm.name
