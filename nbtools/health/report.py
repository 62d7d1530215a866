"""What doctor found, as data, as text, as a terminal table and as a notebook table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbtools.templates import Templates

if TYPE_CHECKING:
    from rich.table import Table

Level = Literal["ok", "warn", "fail"]
TEMPLATES = Templates(Path(__file__).parent / "templates")
REINSTALL = "In the course's folder run: python -m pip install -e ."


@dataclass(frozen=True)
class Check:
    """One thing examined.

    name    what was looked at
    value   what was found, in words
    level   "ok", "warn" (something does not work here) or "fail" (the course cannot run)
    advice  one line that says what to do, or nothing
    """

    name: str
    value: str
    level: Level = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Health:
    """The checks in the order of the table, and the version of each package: installed, tested with, required at least."""

    checks: tuple[Check, ...]
    versions: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the course can run here with at least the profile `mini`."""
        return all(check.level != "fail" for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line: the answer."""
        if self.ok:
            return "The course runs here."
        failed = [check.name for check in self.checks if check.level == "fail"]
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        return f"The course cannot run here yet: see {', '.join(failed[:3])}{more}."

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return {"ok": self.ok, "verdict": self.verdict, "checks": [asdict(check) for check in self.checks], "packages": self.versions}

    def table(self) -> Table:
        """A table for the terminal, as rich draws it."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.verdict, title_justify="left", show_edge=False, pad_edge=False)
        table.add_column("")
        table.add_column("Check", no_wrap=True)
        table.add_column("Found", overflow="fold")
        for check in self.checks:
            found = Text(check.value)
            if check.advice:
                found.append(f"\n-> {check.advice}", style="italic")
            style = {"ok": "green", "warn": "yellow", "fail": "bold red"}[check.level]
            table.add_row(Text(check.level, style=style), Text(check.name), found)
        return table

    def __repr__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [self.verdict, ""]
        for check in self.checks:
            lines.append(f"{check.level:<4}  {check.name:<{width}}  {check.value}")
            if check.advice:
                lines.append(f"{'':<4}  {'':<{width}}  -> {check.advice}")
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        """The same table for a notebook; None, so that the text is shown, where Jinja2 itself is what is missing."""
        try:
            return str(TEMPLATES.render("health.html", health=self))
        except ImportError:
            return None


def guarded(name: str, examine: Callable[[], list[Check]], level: Level = "fail", advice: str = REINSTALL) -> list[Check]:
    """What `examine` returns; where it breaks, one check of `level` that says how. A broken package can raise anything."""
    try:
        return examine()
    except Exception as error:
        return [Check(name, f"could not be examined: {one_line(error)}", level, advice)]


def one_line(error: BaseException) -> str:
    """The kind of error and the first line of its message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def gigabytes(count: float) -> str:
    """Bytes as GB (10**9 bytes) with one decimal."""
    return f"{count / 1e9:.1f} GB"
