"""The command `nbtools`. Each command reads its options and calls another part of the package, which it imports when needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from nbtools.cli.frame import app
from nbtools.system import tolerant_output

# Each registers its commands, in the order in which the help shows them.
from nbtools.cli import machine, run, sweep, teaching, workshop  # noqa: F401  # isort: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM."""
    if arguments is None:
        _read_names_as_utf8()
    with tolerant_output():
        app(join_parameters(sys.argv[1:] if arguments is None else arguments), prog_name="nbtools")


def _read_names_as_utf8() -> None:
    """In an ASCII-only locale, restart in Python's UTF-8 mode, because libraries written in Rust and C++ cannot open files with
    other characters in their names there. The encoding of the output stays the same."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def join_parameters(arguments: Sequence[str]) -> list[str]:
    """Replace each `-p NAME VALUE` by `-p NAME=VALUE`, a form that the option parser can repeat."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "-p" and (name := next(rest, None)) is not None:
            value = None if "=" in name else next(rest, None)
            joined.append(name if value is None else f"{name}={value}")
    return joined
