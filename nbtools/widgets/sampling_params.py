"""The prompt lab's settings: which values are off, the options they stand for."""

from __future__ import annotations

from typing import Any

from nbtools.generation import SamplingParams

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""The values that leave the distribution as it is."""
BEAMS = 4


def check_settings(**settings: Any) -> dict[str, Any]:
    """The settings with Python's own numbers, and the off value in place of None. Raises InputError for an invalid value, off or not."""
    settings = {name: OFF.get(name) if value is None else value for name, value in settings.items()}
    params = SamplingParams(**settings)
    return {name: getattr(params, name) for name in settings}


def to_options(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are not off, as options of `nbtools.generate`."""
    return {name: value for name, value in settings.items() if value != OFF.get(name)}


def ways_of_decoding(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of `nbtools.generate` for greedy decoding, sampling and beam search, by a description of each."""
    sampled = to_options({**settings, "temperature": settings["temperature"] or 1.0})
    shared = {name: value for name, value in sampled.items() if name in {"max_new_tokens", "seed", "repetition_penalty"}}
    described = SamplingParams(**sampled).describe()
    return {"greedy": shared, described: sampled, f"beam search, {BEAMS} beams": {"num_beams": BEAMS, **shared}}
