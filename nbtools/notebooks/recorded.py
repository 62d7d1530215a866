"""Outputs of the course's notebooks with a larger model, recorded once, to read beside those of the model that is used here."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.system import decoration, say

FOLDER = Path(__file__).parent.parent / "assets" / "recorded"  # <profile>.json, written by `python -m tools.record`


@functools.cache
def read_recorded(profile: str = "smollm2") -> dict[str, dict[str, Any]]:
    """What was recorded with `profile`, by notebook: `date`, `machine`, `command`, `versions`, and `outputs` (by cell id, as plain text).

    Raises InputError if nothing was recorded with it.
    """
    file = FOLDER / f"{profile}.json"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.json")))
        raise InputError(f"Nothing was recorded with {profile!r}.", f"There are: {known}. To record: python -m tools.record {profile}")
    return dict(json.loads(file.read_text(encoding="utf8"))["notebooks"])


@decoration
def recorded(notebook: str, *cells: str, profile: str = "smollm2") -> None:
    """Print what cells of a notebook printed with a larger model, and when and where that was recorded. Never raises.

    notebook  its name, such as "04_finetuning"
    cells     ids of cells
    profile   the larger model
    """
    found = read_recorded(profile).get(notebook, {"outputs": {}})
    outputs = found["outputs"]
    if missing := [cell for cell in cells if cell not in outputs]:
        raise InputError(f"Nothing was recorded of the cell {missing[0]!r} of {notebook}.", f"There are: {', '.join(outputs)}.")
    say(f"With {profile}, recorded on {found['date']} ({found['machine']}); to run it: {found['command']}\n")
    say("\n\n".join(outputs[cell].rstrip() for cell in cells))
