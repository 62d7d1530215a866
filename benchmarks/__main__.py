"""All benchmarks one after the other, as `make bench` runs them; then the pages with the results.

    python -m benchmarks [NAME ...] [--again] [--plan] [--rounds N]

A series that was interrupted is resumed by the same command: benchmarks that it has already measured are skipped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from benchmarks import report
from benchmarks.harness import ROOT, duration, say
from benchmarks.kinds import ProcessorKind
from benchmarks.machine import this_kind
from benchmarks.store import RESULTS, expected_minutes
from nbtools.storage import write_text

# Not `mini`: it needs another model to compare with.
NAMES = (
    "finetune_throughput",
    "training_step",
    "dropout",
    "time_to_perplexity",
    "generation",
    "scoring",
    "learning_rates",
    "estimate",
    "attention_payload",
    "site",
    "course",
    "profile",
    "adapters",
    "sweep",
)
STATE = ROOT / "runs" / "bench"  # git ignores runs/


@dataclass
class Series:
    """The benchmarks that are measured together, and how far they are."""

    started: str
    """Date and time, ISO 8601."""
    done: list[str] = field(default_factory=list)
    """Names of the benchmarks that are measured."""

    @classmethod
    def resume(cls, path: Path) -> Self:
        """The series in the file `path`, or a new one."""
        if path.is_file():
            return cls(**json.loads(path.read_text(encoding="utf8")))
        return cls(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self)) + "\n")


def hours(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def time_left(names: list[str], kind: ProcessorKind) -> str:
    """How long the benchmarks `names` take together by their stored results, in words."""
    expected = {name: expected_minutes(name, kind, RESULTS) for name in names}
    known = [found for found in expected.values() if found]
    unknown = [name for name, found in expected.items() if not found]
    said = [f"about {hours(sum(minutes for minutes, _ in known))}"] if known else []
    if unknown:
        said.append(f"{', '.join(unknown)}, not measured before")
    return " and ".join(said)


def show_plan(names: list[str], kind: ProcessorKind) -> None:
    say(f"{kind.label}: {time_left(names, kind)}.")
    for name in names:
        say(f"  {name}: {duration(name, kind)}")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(NAMES)}")
    parser.add_argument("--again", action="store_true", help="start a new series instead of resuming one")
    parser.add_argument("--plan", action="store_true", help="only say what would be measured and how long it takes")
    parser.add_argument("--rounds", type=int, help="rounds of each benchmark (default: its own)")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    kind = this_kind()
    path = STATE / f"{kind.slug}.json"
    if options.again and not options.plan:
        path.unlink(missing_ok=True)
    series = Series.resume(path)
    done = set() if options.again else set(series.done)
    names = [name for name in NAMES if name in (options.names or NAMES)]
    left = [name for name in names if name not in done]
    if done:
        say(f"Resuming the series of {series.started[:16]}; already measured: {', '.join(series.done)}. --again starts a new one.")
    show_plan(left, kind)
    if options.plan:
        return 0
    for index, name in enumerate(left):
        say(f"\n== {name} ({index + 1} of {len(left)}); left: {time_left(left[index:], kind)}")
        start = time.monotonic()
        status = run_one(name, options.rounds)
        if status:
            say(f"{name} ended with status {status}. The same command resumes here.")
            return status
        say(f"{name} took {(time.monotonic() - start) / 60:.0f} minutes.")
        series.done.append(name)
        series.write(path)
    if set(series.done) >= set(NAMES):
        path.unlink()  # complete: the next call starts a new series
    return report.main(check=False)


def run_one(name: str, rounds: int | None) -> int:
    """Run a benchmark as its own command. Ctrl-C reaches it directly; its status is then 130."""
    child = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}", *(["--rounds", str(rounds)] if rounds else [])],
        cwd=ROOT,
    )
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # it ends its measurement in good order


if __name__ == "__main__":
    sys.exit(main())
