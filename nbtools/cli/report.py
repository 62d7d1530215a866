"""`nbtools report`: one page about a run or a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbtools.cli.frame import command


@command(example="nbtools report runs/rates")
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run or of a sweep.")]) -> int:
    """Write one page about a run or a sweep, which needs neither a network nor scripts."""
    from nbtools.report import write_page

    print(f"Open {write_page(folder)}")
    return 0
