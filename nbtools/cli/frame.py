"""What every command shares: the application, the same ends, and how NAME VALUE is read."""

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

from nbtools.errors import CourseError, printable

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
    """SIGTERM, or a closed terminal: ends a command in the same good order as Ctrl-C."""


def command(*, example: str, hidden: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a command that returns its exit code, and give every command the same ends: 1 and two lines for a mistake
    that a person can mend, 130 for Ctrl-C, 143 for a termination."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> NoReturn:
            try:
                with _termination_raised():
                    code = function(*arguments, **options)
            except KeyboardInterrupt as stop:
                print("Stopped. The same command starts again where that is possible.", file=sys.stderr)
                code = 143 if isinstance(stop, Terminated) else 130
            except CourseError as error:
                print(f"{error.problem}\n  -> {error.remedy}", file=sys.stderr)
                code = 1
            except OSError as error:
                print(
                    f"The system refused: {printable(str(error))}\n  -> Check the disk and the rights there, then try again.",
                    file=sys.stderr,
                )
                code = 1
            raise typer.Exit(code)

        app.command(epilog=f"Example: {example}", hidden=hidden)(guarded)
        return function

    return register


@contextmanager
def _termination_raised() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP raise Terminated; afterwards they do what they did before."""

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
    """Say how an interrupted command is continued; its exit code."""
    print(f"\nStopped. What is finished is kept in {folder}. To go on: {shlex.join(typed)}", file=sys.stderr)
    return 143 if isinstance(stop, Terminated) else 130


def read_pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping. Raises BadParameter where a value is missing, or a name has two of them."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} {name} lacks a value. Write: {option} {name}{' VALUE' if option == '-p' else '=VALUE'}")
        if values.setdefault(name, value) != value:
            raise typer.BadParameter(f"{option} {name} is given twice, with different values.")
    return values
