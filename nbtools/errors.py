"""One exception family: every error a person can cause says what is wrong and what to do about it."""

from __future__ import annotations


class CourseError(Exception):
    """A mistake or a missing thing that the user can mend.

    `problem` is one line that says what is wrong, `remedy` one line that says what to do. Notebooks and the command line
    show these two lines and no traceback.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  -> {self.remedy}"

    def _render_traceback_(self) -> list[str]:
        """IPython calls this instead of formatting the stack."""
        return [f"{type(self).__name__}: {self.problem}", f"  -> {self.remedy}"]


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
