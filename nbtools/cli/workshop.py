"""The command for workshops: everything on a stick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbtools.cli.frame import command


@command(example="nbtools bundle --profile mini --out stick")
def bundle(
    profile: Annotated[list[str] | None, typer.Option(metavar="NAME", help="mini or smollm2; may be repeated. Default: mini.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the bundle goes.")] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="For linux-x86_64, linux-aarch64, macos-arm64 or windows-x86_64; may be repeated. Default: this one."
        ),
    ] = None,
    python: Annotated[list[str] | None, typer.Option(metavar="X.Y", help="For this Python; may be repeated. Default: this one.")] = None,
    torch_index: Annotated[
        str | None, typer.Option(metavar="URL", envvar="TORCH_INDEX", help="Take PyTorch for Linux from there: a build without CUDA, say.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check every file of a bundle against its checksums; make nothing.")
    ] = None,
) -> int:
    """Make a folder from which the course is installed and run without any network: for a stick, or served in a room.

    It holds the wheels of every package, the models, the notebooks, installation scripts, START.txt for whoever gets it, and SHA256SUMS.
    The same command again brings only what is missing, and leaves a complete bundle as it is.
    """
    from nbtools.bundle import check_bundle, make_bundle

    if check is not None:
        complaints = check_bundle(check)
        for line in complaints:
            print(line)
        print(f"{check}: {f'{len(complaints)} files are not as they were made' if complaints else 'every file is as it was made'}.")
        return 1 if complaints else 0
    if out is None:
        raise typer.BadParameter("DIR is missing. Name the folder: --out DIR")
    made = make_bundle(profile or ["mini"], out, platforms=platform or (), pythons=python or (), torch_index=torch_index)
    if not made.changed:
        print("Everything was there already; nothing was changed.")
    print(f"{made.folder}: {made.wheels} wheels, {made.bytes / 1e6:.0f} MB. Its START.txt says how to install from it.")
    return 0
