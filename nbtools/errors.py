"""Exceptions for errors that a user can cause; each says what is wrong and what to do."""

from __future__ import annotations

import re

# Control characters, which a terminal would execute, except tab and line feed; bidirectional characters, which reorder a line; and
# surrogates, which cannot be encoded.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return `text` with control characters written as "<U+001B>", so that a terminal shows them instead of executing them."""
    return CONTROLS.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


class CourseError(Exception):
    """An error that the user can correct.

    problem  one line that says what is wrong
    remedy   one line that says what to do

    Notebooks and the command line show these two lines instead of a traceback. Control characters in them are made visible, because they
    may quote names and texts from files.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = printable(problem)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.problem}\n  -> {self.remedy}"

    def _render_traceback_(self) -> list[str]:
        """Called by IPython instead of formatting the traceback."""
        return [f"{type(self).__name__}: {self.problem}", f"  -> {self.remedy}"]


def one_line(error: Exception) -> str:
    """Return an error as one line: what is wrong and, if known, what to do."""
    if isinstance(error, CourseError):
        return f"{error.problem} {error.remedy}"
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])


class InputError(CourseError):
    """An argument, a parameter or a file is invalid."""


class ModelError(CourseError):
    """A model cannot be found, loaded, checked or saved."""


class DataError(CourseError):
    """Texts or reviews cannot be found or read, or do not have the expected format."""


class UnreachableError(CourseError):
    """A network service (the Hub, a package index) cannot be reached or is switched off."""


class MachineError(CourseError):
    """This machine lacks something that is needed: a package, memory, disk space."""


class RunError(CourseError):
    """A run of a notebook could not start or did not finish."""
