"""The random numbers that texts are sampled with."""

from __future__ import annotations

from itertools import islice

from nbtools.generation.sampling import uniform_stream


def uniforms(seed: int, count: int) -> list[float]:
    """The first `count` numbers of a seed, those that `nbtools.generate` draws with."""
    return list(islice(uniform_stream(seed), count))
