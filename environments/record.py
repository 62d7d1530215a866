"""What a check of an environment leaves: `environments/results/NAME.json`, from which the README's table is made.

A check is one thing that was really done there. Its outcome is "passed", "failed", or "not run" with the reason; a check that was not run
is never left out of the table.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nbtools.storage import write_text

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SCHEMA = 1
TAIL = 4_000  # characters of a failed command's output that are shown


@dataclass
class Check:
    """One thing that was done: what, how it went, a figure or a reason, and how long it took."""

    what: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0


@dataclass
class Record:
    """All that was done in one environment.

    name         of the module and of the file
    environment  a line for people: "Colab's versions on Python 3.11"
    command      that does it again
    versions     package -> version, as found in that environment
    """

    name: str
    environment: str
    command: str
    versions: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def run(
        self,
        what: str,
        command: Sequence[str | Path],
        *,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        detail: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` and note how it went; a failure shows the end of its output and is not raised: later checks still run."""
        print(f"{what} …", flush=True)
        start = time.monotonic()
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, encoding="utf8", errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            print((done.stdout + done.stderr)[-TAIL:], flush=True)
        self.note(what, done.returncode == 0, detail, time.monotonic() - start)
        return done

    def note(self, what: str, passed: bool, detail: str = "", seconds: float = 0.0) -> None:
        """Something done in this process: a comparison, say."""
        self._add(Check(what, "passed" if passed else "failed", detail, round(seconds, 1)))

    def not_run(self, what: str, reason: str) -> None:
        self._add(Check(what, "not run", reason))

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        print(f"  {check.outcome}{f': {check.detail}' if check.detail else ''} ({check.seconds:.0f} s)", flush=True)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.outcome == "failed"]

    def write(self, folder: Path = RESULTS) -> int:
        """Store the record in place of an earlier one; the exit code: 0 where nothing failed."""
        body = {"schema": SCHEMA, "date": datetime.date.today().isoformat(), "python": sys.version.split()[0], **asdict(self)}
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.name}.json", json.dumps(body, indent=1, ensure_ascii=False) + "\n")
        print(f"{len(self.checks) - len(self.failed)} of {len(self.checks)} not failed; written to {folder / f'{self.name}.json'}")
        return 1 if self.failed else 0


def read_records(folder: Path = RESULTS) -> list[dict]:
    """Every record stored, by name."""
    return [json.loads(path.read_text(encoding="utf8")) for path in sorted(folder.glob("*.json"))]
