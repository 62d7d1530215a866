"""How everything here is measured: in rounds that alternate, each measurement in a process of its own, every raw figure kept.

In a process of its own a measurement's peak memory is its own, and neither warm caches nor leaks reach the next one. In rounds (A B C,
A B C, …) a machine that slows down slows all of them: a ratio is taken round by round, and its median is what counts.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.kinds import ProcessorKind
from benchmarks.store import RESULTS, expected_minutes, path_of
from nbtools.errors import CourseError, InputError, RunError
from nbtools.storage import Kind, destination, replace_text, write_text
from nbtools.storage.json_files import read_object

SCHEMA = 1
ROOT = Path(__file__).parents[1]
RESULT = Kind("a benchmark's result", lambda file: {"schema", "name", "goals"} <= read_object(file).keys(), is_file=True)
SAMPLE_SECONDS = 0.5
BUSY_PERCENT = 10.0  # of one core: what another process may take before a measurement counts as disturbed

Row = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One measurement: `function` ("module:name") gets `arguments` in a process of its own and returns a dict of figures."""

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


Planned = Call | Callable[[dict[str, Row]], Call]  # or made from the rows that this round has so far


def measure(call: Call) -> Row:
    """Run `call` and return its figures, with wall_seconds, peak_memory_bytes (of its process) and tree_memory_bytes.

    tree_memory_bytes is the most that the process and everything it started (compilers, workers) held together, sampled; pages
    that two of them share count in each. Raises RunError with the end of its output when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        answer, log = Path(folder, "answer.json"), Path(folder, "log.txt")
        request = {"function": call.function, "arguments": dict(call.arguments), "answer": str(answer)}
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "NBTOOLS_PROGRESS": "0", "TMPDIR": folder} | dict(call.environment)
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches this process only, which then ends the other in good order.
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child"], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                assert child.stdin is not None
                child.stdin.write(json.dumps(request).encode())
                child.stdin.close()
                tree = 0
                while child.poll() is None:
                    tree = max(tree, sum(_resident(process) for process in family(child.pid)))
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(SAMPLE_SECONDS)
            finally:
                for process in family(child.pid):
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                child.wait()
        if child.returncode or not answer.is_file():
            end = log.read_text(encoding="utf8", errors="replace").strip().splitlines()[-12:]
            raise RunError(f"{call.function} ended with status {child.returncode}.", "Its last lines:\n     " + "\n     ".join(end))
        row: Row = json.loads(answer.read_text(encoding="utf8"))
    return row | {"tree_memory_bytes": max(tree, row["peak_memory_bytes"])}


def family(pid: int) -> list[psutil.Process]:
    """Process `pid` and its descendants, as far as they still run."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # gone between the listing and the look


def others_percent(seconds: float = 0.5) -> float:
    """What processes that are not ours take of the processor now, in percent of one core; said aloud when it is too much."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents()), *(one.pid for one in family(os.getpid()))}
    watched = [process for process in psutil.process_iter() if process.pid not in mine]
    for process in watched:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(seconds)
    taken: list[tuple[float, str]] = []
    for process in watched:
        with contextlib.suppress(psutil.Error):
            taken.append((process.cpu_percent(), process.name()))
    total = sum(percent for percent, _ in taken)
    if total > BUSY_PERCENT:
        percent, name = max(taken)
        say(f"WARNING: the processor is not free: {name} takes {percent:.0f} % of a core. Figures taken now are too low; end it first.")
    return total


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def rounds(calls: Mapping[str, Planned], count: int) -> dict[str, list[Row]]:
    """Every call once a round, in order, `count` rounds; the rows by name, one a round. Says what runs and how long it will take."""
    raw: dict[str, list[Row]] = {name: [] for name in calls}
    for number, name in announced(list(calls), count):
        planned = calls[name]
        others = others_percent()
        row = measure(
            planned if isinstance(planned, Call) else planned({one: rows[number] for one, rows in raw.items() if len(rows) > number})
        )
        raw[name].append(row | {"others_percent": round(others, 1)})
    return raw


def announced(names: Sequence[str], count: int) -> Iterator[tuple[int, str]]:
    """Every name once a round, with the number of the round; prints each, and about how many minutes are left."""
    taken: dict[str, float] = {}
    plan = [(number, name) for number in range(count) for name in names]
    for index, (number, name) in enumerate(plan):
        typical = statistics.mean(taken.values()) if taken else 0.0
        left = sum(taken.get(other, typical) for _, other in plan[index:]) / 60
        say(f"[{index + 1}/{len(plan)}] round {number + 1}: {name}" + (f", about {left:.0f} minutes left" if index else ""))
        start = time.monotonic()
        yield number, name
        taken[name] = time.monotonic() - start


def column(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios taken round by round."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def goal(
    name: str, value: float | None, target: float, *, at_most: bool = False, format: str | None = None, kind: str | None = None
) -> dict[str, Any]:
    """A goal: what was measured, what was wanted, and whether that is met. A value of None (could not be measured) is not met.

    format  number format of the measurement, if the goal depends on it: "fp32" or "bf16"
    kind    slug of the only kind of processor that the goal is for; None: it is for all
    """
    met = value is not None and (value <= target if at_most else value >= target)
    only = {"format": format, "kind": kind}
    made = {"name": name, "value": value, "goal": target, "sense": "at most" if at_most else "at least", "met": met}
    return made | {key: part for key, part in only.items() if part is not None}


def applies(one: Mapping[str, Any], kind: ProcessorKind) -> bool:
    """Whether a goal is one for this kind of processor."""
    return one.get("kind") in (None, kind.slug)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=5, help="rounds, in each of which everything is measured once (default: 5)")
    made.add_argument("--quick", action="store_true", help="tiny shapes, one round: only to see that it works; stores nothing")
    made.add_argument("--out", type=Path, help="write the JSON there and not to benchmarks/results/")
    return made


def described(one: Mapping[str, Any]) -> str:
    """A goal's name with its number format."""
    return f"{one['name']}, {one['format']}" if "format" in one else str(one["name"])


def duration(name: str, kind: ProcessorKind) -> str:
    """How long a benchmark took when it was last measured, and where, in words."""
    expected = expected_minutes(name, kind, RESULTS)
    if expected is None:
        return "not measured before, so its duration is not known"
    minutes, measured = expected
    return f"about {minutes:.0f} minutes" + ("" if measured == kind else f" (on {measured.label})")


def main(
    name: str, run: Callable[[argparse.Namespace], dict[str, Any]], made: argparse.ArgumentParser, arguments: list[str] | None = None
) -> int:
    """Run a benchmark as a command; the exit status. Results are written only when all of it is done."""
    options = made.parse_args(arguments)
    kind = machine.this_kind()
    target = options.out or (None if options.quick else path_of(name, kind, RESULTS))
    command = " ".join(["python -m", f"benchmarks.{name}", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        if options.out:
            target = destination(options.out, RESULT, "--out")
        if options.rounds < 1:
            raise InputError(f"--rounds is {options.rounds}.", "Give at least 1; a result to be shown needs 5.")
        if options.quick:
            options.rounds = 1
        else:
            say(f"{name}: {duration(name, kind)}.")
        start = time.monotonic()
        body = run(options)
        minutes = round((time.monotonic() - start) / 60, 1)
    except KeyboardInterrupt:
        say(f"Interrupted. {f'The stored result in {target} is unchanged.' if target else 'Nothing was written.'}")
        return 130
    except CourseError as error:
        say(str(error))
        return 1
    record = {
        "schema": SCHEMA,
        "name": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "quick": options.quick,
        "rounds": options.rounds,
        "minutes": minutes,
        "kind": {"slug": kind.slug, "label": kind.label},
        "machine": machine.facts(),
        "versions": machine.versions(),
        **body,
    }
    for one in record["goals"]:
        value = "not measured" if one["value"] is None else f"{one['value']:.3g}"
        outcome = "no goal" if not applies(one, kind) else "met    " if one["met"] else "NOT MET"
        say(f"{outcome} {described(one)}: {value} ({one['sense']} {one['goal']:g})")
    if target:
        (replace_text if options.out else write_text)(target, json.dumps(record, indent=1) + "\n")
        say(f"Written: {target}")
    return 0
