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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine
from nbtools.errors import CourseError, InputError, RunError
from nbtools.storage import Kind, destination, replace_text, write_text
from nbtools.storage.json_files import read_object

SCHEMA = 1
RESULTS = Path(__file__).parent / "results"
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
    taken: dict[str, float] = {}
    plan = [(number, name) for number in range(count) for name in calls]
    for at, (number, name) in enumerate(plan):
        typical = statistics.mean(taken.values()) if taken else 0.0
        left = sum(taken.get(other, typical) for _, other in plan[at:]) / 60
        say(f"[{at + 1}/{len(plan)}] round {number + 1}: {name}" + (f", about {left:.0f} minutes left" if at else ""))
        planned = calls[name]
        others = others_percent()
        start = time.monotonic()
        row = measure(
            planned if isinstance(planned, Call) else planned({one: rows[number] for one, rows in raw.items() if len(rows) > number})
        )
        taken[name] = time.monotonic() - start
        raw[name].append(row | {"others_percent": round(others, 1)})
    return raw


def column(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios taken round by round."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def goal(name: str, value: float | None, target: float, *, at_most: bool = False) -> dict[str, Any]:
    """A goal: what was measured, what was wanted, whether that is met. A value of None (could not be measured) is not met."""
    met = value is not None and (value <= target if at_most else value >= target)
    return {"name": name, "value": value, "goal": target, "sense": "at most" if at_most else "at least", "met": met}


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=5, help="rounds, in each of which everything is measured once (default: 5)")
    made.add_argument("--quick", action="store_true", help="tiny shapes, one round: only to see that it works; stores nothing")
    made.add_argument("--out", type=Path, help="write the JSON there and not to benchmarks/results/")
    return made


def main(
    name: str, run: Callable[[argparse.Namespace], dict[str, Any]], made: argparse.ArgumentParser, arguments: list[str] | None = None
) -> int:
    """Run a benchmark as a command; the exit status. Results are written only when all of it is done."""
    options = made.parse_args(arguments)
    target = options.out or (None if options.quick else RESULTS / f"{name}.json")
    command = " ".join(["python -m", f"benchmarks.{name}", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        if options.out:
            target = destination(options.out, RESULT, "--out")
        if options.rounds < 1:
            raise InputError(f"--rounds is {options.rounds}.", "Give at least 1; a result to be shown needs 5.")
        if options.quick:
            options.rounds = 1
        start = time.monotonic()
        body = run(options)
        minutes = round((time.monotonic() - start) / 60, 1)
    except KeyboardInterrupt:
        say(f"Interrupted. {f'{target.name} is as it was.' if target else 'Nothing was written.'}")
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
        "machine": machine.facts(),
        "versions": machine.versions(),
        **body,
    }
    for one in record["goals"]:
        value = "not measured" if one["value"] is None else f"{one['value']:.3g}"
        say(f"{'met    ' if one['met'] else 'NOT MET'} {one['name']}: {value} ({one['sense']} {one['goal']:g})")
    if target:
        (replace_text if options.out else write_text)(target, json.dumps(record, indent=1) + "\n")
        say(f"Written: {target}")
    return 0
