"""The result of doctor, as data, as text, as a terminal table and as a notebook table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbtools.errors import one_line
from nbtools.templates import Templates

if TYPE_CHECKING:
    from rich.table import Table

Level = Literal["ok", "warn", "fail"]
TEMPLATES = Templates(Path(__file__).parent / "templates")
REINSTALL = "In the course's folder run: python -m pip install -e ."


@dataclass(frozen=True)
class Check:
    """The result of one check.

    name    what was checked
    value   what was found, as text
    level   "ok", "warn" (something does not work here) or "fail" (the course cannot run)
    advice  one line that says what to do, or ""
    """

    name: str
    value: str
    level: Level = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Health:
    """The result of `doctor`.

    checks    in the order of the table
    versions  for each package, its `installed`, `tested` and (minimum) `required` version
    """

    checks: tuple[Check, ...]
    versions: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the course can run here with at least the profile `mini`."""
        return all(check.level != "fail" for check in self.checks)

    @property
    def verdict(self) -> str:
        """The overall result in one line."""
        if self.ok:
            return "The course runs here."
        failed = [check.name for check in self.checks if check.level == "fail"]
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        return f"The course cannot run here yet: see {', '.join(failed[:3])}{more}."

    def to_dict(self) -> dict[str, Any]:
        """The result as values for JSON."""
        return {"ok": self.ok, "verdict": self.verdict, "checks": [asdict(check) for check in self.checks], "packages": self.versions}

    def table(self) -> Table:
        """The result as a rich table, for the terminal."""
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
                lines.append(" " * (width + 8) + f"-> {check.advice}")
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        """The table for a notebook; None if Jinja2 is missing, so that the text form is shown."""
        try:
            return str(TEMPLATES.render("health.html", health=self))
        except ImportError:
            return None


def guarded(name: str, examine: Callable[[], list[Check]], level: Level = "fail", advice: str = REINSTALL) -> list[Check]:
    """Call `examine`; if it raises, as a broken package can, return one check that reports the error with this level and advice."""
    try:
        return examine()
    except Exception as error:
        return [Check(name, f"could not be examined: {one_line(error)}", level, advice)]
