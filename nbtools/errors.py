"""One exception family: every error a person can cause says what is wrong and what to do about it."""

from __future__ import annotations

import re

# What a terminal obeys or a line is reordered by: control characters but tab and line feed, Unicode's marks of direction,
# and halves of surrogate pairs, which no encoding can write.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with its control characters as "<U+001B>": what comes from a file, a name or a model is shown, and never obeyed."""
    return CONTROLS.sub(lambda one: f"<U+{ord(one[0]):04X}>", text)


class CourseError(Exception):
    """A mistake or a missing thing that the user can mend.

    `problem` is one line that says what is wrong, `remedy` one line that says what to do. Notebooks and the command line
    show these two lines and no traceback. Both may quote names and texts from anywhere, so control characters are shown as such.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = printable(problem)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.problem}\n  -> {self.remedy}"

    def _render_traceback_(self) -> list[str]:
        """IPython calls this instead of formatting the stack."""
        return [f"{type(self).__name__}: {self.problem}", f"  -> {self.remedy}"]


def one_line(error: Exception) -> str:
    """What is wrong, and what to do where that is known, as one line for a person."""
    if isinstance(error, CourseError):
        return f"{error.problem} {error.remedy}"
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])


class InputError(CourseError):
    """An argument, a parameter or a file is not what it must be."""


class ModelError(CourseError):
    """A model cannot be found, read, checked or saved."""


class DataError(CourseError):
    """The reviews cannot be found or are not what was expected."""


class UnreachableError(CourseError):
    """A network place (the Hub, a package index) does not answer or is switched off."""


class MachineError(CourseError):
    """This machine lacks something that the work needs: a package, memory, disk."""


class RunError(CourseError):
    """A notebook run could not start or did not finish."""
