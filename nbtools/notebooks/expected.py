"""Expected ranges of results that differ slightly between machines, for learners and tests."""

from __future__ import annotations

import functools
import json
from numbers import Real
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.system import decoration, say

FILE = Path(__file__).parent.parent / "assets" / "expected.json"


@functools.cache
def read_expected() -> dict[str, dict[str, Any]]:
    """The ranges by name, each with `what` (a description), `low` and `high`, for `mini` and the notebooks' default parameters."""
    return dict(json.loads(FILE.read_text(encoding="utf8"))["figures"])


@decoration
def expected(name: str, value: float) -> None:
    """Print whether `value` is in the range measured on other machines, or why it cannot be compared. Never raises."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{value!r} is not a number to compare.", "Give the figure that the notebook computed.")
    known = read_expected()
    if not isinstance(name, str) or name not in known:
        raise InputError(f"There is no expected range called {name!r}.", f"There are: {', '.join(known)}.")
    entry = known[name]
    interval = f"{entry['low']:g} to {entry['high']:g} with mini and this notebook's own parameters"
    if entry["low"] <= value <= entry["high"]:
        say(f"{entry['what']}: {value:.4g}, as expected ({interval})")
    else:
        advice = "With other parameters that is to be expected; otherwise check what differs."
        say(f"{entry['what']}: {value:.4g}, outside of {interval}. {advice}")
