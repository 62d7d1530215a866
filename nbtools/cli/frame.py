"""What all commands share: the application, exit codes and error messages, and parsing of NAME=VALUE."""

from __future__ import annotations

import functools
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from nbtools.errors import CourseError

app = typer.Typer(
    name="nbtools",
    help="From the arithmetic of attention to a fine-tuned language model: the course's command line.",
    epilog="Example: nbtools run --profile mini",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Names = Annotated[list[str] | None, typer.Argument(metavar="NOTEBOOK", help="A number (4), a name (04_finetuning) or a path.")]


class Terminated(KeyboardInterrupt):
    """SIGTERM, or a closed terminal: ends a command in the same way as Ctrl-C."""


def command(*, example: str, hidden: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a command that returns its exit code; `example` is shown at the end of its help.

    Every command exits with 1 and two lines of text for an error that the user can correct, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> NoReturn:
            try:
                with _termination_raised():
                    code = function(*arguments, **options)
            except KeyboardInterrupt as stop:
                print("Stopped. Run the same command again to continue where possible.", file=sys.stderr)
                code = 143 if isinstance(stop, Terminated) else 130
            except CourseError as error:
                print(error, file=sys.stderr)
                code = 1
            except OSError as error:
                advice = "Check the disk and the permissions there, then try again."
                print(CourseError(f"The system reported: {error}", advice), file=sys.stderr)
                code = 1
            raise typer.Exit(code)

        app.command(epilog=f"Example: {example}", hidden=hidden)(guarded)
        return function

    return register


@contextmanager
def _termination_raised() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP raise Terminated; afterwards the previous handlers are restored."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped(stop: KeyboardInterrupt, folder: Path, typed: Sequence[str]) -> int:
    """Print where the results of an interrupted command are and how to continue it; return its exit code."""
    print(f"\nStopped. Finished results are kept in {folder}. To continue: {shlex.join(typed)}", file=sys.stderr)
    return 143 if isinstance(stop, Terminated) else 130


def read_pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Convert NAME=VALUE texts to a dictionary. Raises BadParameter if a value is missing or a name has two different values."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} {name} has no value. Write: {option} {name}{' VALUE' if option == '-p' else '=VALUE'}")
        if values.setdefault(name, value) != value:
            raise typer.BadParameter(f"{option} {name} is given twice, with different values.")
    return values
