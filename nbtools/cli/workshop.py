"""`nbtools bundle`: a folder from which the course is installed without a network."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nbtools.cli.frame import command
from nbtools.errors import InputError

ROOT = Path(__file__).resolve().parents[2]  # the clone's folder, if the package is installed from a clone


@command(example="nbtools bundle --profile mini --out stick")
def bundle(
    profile: Annotated[list[str] | None, typer.Option(metavar="NAME", help="mini or smollm2; may be repeated. Default: mini.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The bundle's folder.")] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="For linux-x86_64, linux-aarch64, macos-arm64 or windows-x86_64; may be repeated. Default: this one."
        ),
    ] = None,
    python: Annotated[list[str] | None, typer.Option(metavar="X.Y", help="For this Python; may be repeated. Default: this one.")] = None,
    torch_index: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="TORCH_INDEX", help="Index for PyTorch on Linux, for example with builds without CUDA."),
    ] = None,
    check: Annotated[Path | None, typer.Option(metavar="DIR", help="Check every file of an existing bundle against its checksums.")] = None,
) -> int:
    """Make a folder from which the course can be installed and run without a network, for a USB stick or a local web server.

    It contains the wheels of all packages, the models, the notebooks, installation scripts, START.txt for its users, and SHA256SUMS.
    Running the same command again downloads only what is missing. A bundle can only be made from a clone of the course.
    """
    from nbtools.bundle import check_bundle

    if check is not None:
        problems = check_bundle(check)
        for line in problems:
            print(line)
        print(f"{check}: {f'{len(problems)} files are missing or damaged' if problems else 'all files are intact'}.")
        return 1 if problems else 0
    if out is None:
        raise typer.BadParameter("DIR is missing. Name the folder: --out DIR")
    tools = load_tools()
    targets = tools.choose_targets(platform or (), python or ())
    made = tools.make_bundle(profile or ["mini"], out, targets=targets, sources=tools.Sources(torch_index=torch_index))
    if not made.changed:
        print("Everything was there already; nothing was changed.")
    print(f"{made.folder}: {made.wheels} wheels, {made.bytes / 1e6:.0f} MB. Its START.txt says how to install from it.")
    return 0


def load_tools(root: Path = ROOT) -> Any:
    """`tools.bundle` of the clone in `root`. Raises InputError if the package is installed without a clone."""
    if not (root / "tools" / "bundle" / "making.py").is_file():
        raise InputError(
            "A bundle can only be made from a clone of the course, and this nbtools is installed without one.",
            "Clone the course, run `make lab` there, then: .venv/bin/nbtools bundle --out DIR",
        )
    sys.path.insert(0, str(root))  # before any other `tools`
    return importlib.import_module("tools.bundle")
