"""A check of `nbtools doctor`: a notebook of one cell, executed in the way every notebook is."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from nbtools.errors import CourseError
from nbtools.health import Check
from nbtools.runs.execution import execute
from nbtools.runs.job import Job

ADVICE = "The last lines of what it said are above. `python -m ipykernel_launcher` alone shows the rest."
CELL: dict[str, Any] = {
    "cell_type": "code",
    "id": "trial",
    "metadata": {},
    "execution_count": None,
    "outputs": [],
    "source": "import nbtools",
}


def try_kernel() -> Check:
    """Start a kernel and execute a cell in it. Takes some five seconds; never raises for what is missing or broken."""
    content = {"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    try:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name, "trial.ipynb")
            path.write_text(json.dumps(content), encoding="utf8")
            execution = execute(Job(str(path)), Path(name, "executed.ipynb"), runs=Path(name))
    except CourseError as error:
        return Check("kernel", error.problem, "warn", error.remedy)
    except OSError as error:
        return Check("kernel", f"could not be tried: {error}", "fail", "Make room, or set TMPDIR to a folder that you may write to.")
    if execution.failure is None:
        return Check("kernel", f"starts and executes a cell ({execution.seconds:.0f} s)")
    return Check("kernel", "\n".join([execution.failure.reason, *execution.failure.lines]), "fail", ADVICE)
