"""The command `nbtools`. Thin on purpose: every command reads its options and calls one room; heavy imports come when needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nbtools.cli import course, many, teaching, workshop  # noqa: F401  (they register their commands)
from nbtools.cli.frame import app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 success, 1 a failure, 2 wrong usage, 130 Ctrl-C, 143 termination."""
    app(join_parameters(sys.argv[1:] if arguments is None else arguments), prog_name="nbtools")


def join_parameters(arguments: Sequence[str]) -> list[str]:
    """Turn each `-p NAME VALUE` into `-p NAME=VALUE`, which the option parser can repeat; other arguments stay."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "-p" and (name := next(rest, None)) is not None:
            value = None if "=" in name else next(rest, None)
            joined.append(name if value is None else f"{name}={value}")
    return joined
