"""Is my number normal? Ranges of figures that differ a little from machine to machine, kept as data for learners and tests alike."""

from __future__ import annotations

import functools
import json
import math
from numbers import Real
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.system import decoration, say

FILE = Path(__file__).parent.parent / "assets" / "expected.json"


@functools.cache
def read_expected() -> dict[str, dict[str, Any]]:
    """By name: what it is, low, high. All of them for `mini` and the notebooks' own parameters."""
    return dict(json.loads(FILE.read_text(encoding="utf8"))["figures"])


@decoration
def expected(name: str, value: float) -> None:
    """Print whether `value` lies where it lay on other machines, or why that cannot be said. Never raises."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{value!r} is not a number to compare.", "Give the figure that the notebook computed.")
    known = read_expected()
    if not isinstance(name, str) or name not in known:
        raise InputError(f"There is no expected range called {name!r}.", f"There are: {', '.join(known)}.")
    one = known[name]
    place = f"{one['low']:g} to {one['high']:g} with mini and this notebook's own parameters"
    if math.isfinite(value) and one["low"] <= value <= one["high"]:
        say(f"{one['what']}: {value:.4g}, as expected ({place})")
    else:
        say(f"{one['what']}: {value:.4g}, outside of {place}. With other parameters that is no surprise; otherwise look at what differs.")
