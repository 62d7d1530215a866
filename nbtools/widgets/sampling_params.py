"""The prompt lab's settings: which values are off, the options they stand for."""

from __future__ import annotations

from typing import Any

from nbtools.generation import SamplingParams

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""The values that leave the distribution as it is."""


def check_settings(**settings: Any) -> dict[str, Any]:
    """The settings with Python's own numbers, and the off value in place of None. Raises InputError for an invalid value, off or not."""
    settings = {name: OFF.get(name) if value is None else value for name, value in settings.items()}
    params = SamplingParams(**settings)
    return {name: getattr(params, name) for name in settings}


def to_options(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are not off, as options of `nbtools.generate`."""
    return {name: value for name, value in settings.items() if value != OFF.get(name)}
