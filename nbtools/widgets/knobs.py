"""The prompt lab's knobs as values: what is off, what `nbtools.generate` takes, and the code that repeats them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from nbtools.generation import SamplingParams

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}


def given(settings: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The values that are not off."""
    return {name: settings[name] for name in names if settings[name] != OFF[name]}


def as_generate(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as `nbtools.generate` takes them."""
    if not settings["temperature"]:
        return given(settings, ["repetition_penalty"])  # greedy
    return {"temperature": settings["temperature"], **given(settings, list(OFF))}


def params_of(settings: dict[str, Any]) -> SamplingParams:
    """Raises InputError for an invalid value."""
    return SamplingParams(**_repeated(settings))


def checked(settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` with every number as Python's own, and None as the value that switches a knob off. Raises InputError as `params_of` does,
    for a knob that is off as well."""
    settings = {name: OFF.get(name) if value is None else value for name, value in settings.items()}
    params = SamplingParams(**settings)
    return {name: getattr(params, name) for name in settings}


def as_python(lm: LanguageModel, prompt: str, settings: dict[str, Any]) -> str:
    """Code that writes the lab's text."""
    written = ", ".join(f"{name}={value!r}" for name, value in _repeated(settings).items())
    return f"import nbtools\n\nlm = nbtools.load_model({_model(lm)!r})\nprint(nbtools.generate(lm, {prompt!r}, {written}))"


def as_command(lm: LanguageModel, prompt: str, settings: dict[str, Any]) -> str:
    """The papermill command that runs notebook 03 with these values; it has no parameter for the repetition penalty."""
    values = {"profile": _model(lm), "short_prompt": prompt, **_repeated(settings)}  # what notebook 03 calls the prompt of its lab
    if settings["temperature"] == 0:
        values["temperature"] = 0  # greedy; left out, the notebook's own value would count
    options = " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in values.items() if name != "repetition_penalty")
    return f"papermill notebooks/03_generation.ipynb out.ipynb {options}"


def _repeated(settings: dict[str, Any]) -> dict[str, Any]:
    return {"max_new_tokens": settings["max_new_tokens"], "seed": settings["seed"], **as_generate(settings)}


def _model(lm: LanguageModel) -> str:
    """What `nbtools.load_model` takes for this model."""
    return lm.profile.name if lm.profile and lm.name == lm.profile.name else lm.name
