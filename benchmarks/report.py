"""Write the figures of results/*.json into benchmarks/README.md and into the course's README.md. No figure there is typed by hand.

    python -m benchmarks.report [--check]

With --check nothing is written; the exit status says whether both pages are what the results give.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.harness import RESULTS, ROOT
from benchmarks.tables import TABLES, Record, about, goals_table, number
from nbtools.errors import CourseError, InputError
from nbtools.storage import write_text

PAGE, README = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
SPEED = ("<!-- speed: written by make bench -->", "<!-- end of speed -->")
NOTHING = "*Not measured yet: run `make bench`.*"


def figures(name: str, results: Path = RESULTS) -> Record | None:
    """The stored result of a benchmark, or None where there is none yet."""
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def section(name: str, results: Path = RESULTS) -> str:
    """What stands in benchmarks/README.md between the markers of `name`."""
    record = figures(name, results)
    return NOTHING if record is None else "\n\n".join(filter(None, [TABLES[name](record), goals_table(record), about(record)]))


def speed(results: Path = RESULTS) -> str:
    """The course README's paragraph about speed."""
    trained, reached, made = (figures(name, results) for name in ("finetune_throughput", "time_to_perplexity", "generation"))
    said = []
    if trained:
        ours, peer = trained["summary"]["ours"], trained["summary"][trained["best_peer"]]
        memory = ours["peak_memory_bytes"]["median"] / trained["summary"]["walkthrough"]["peak_memory_bytes"]["median"]
        times = trained["against_walkthrough"]["ours"]
        said.append(
            f"Fine-tuning GPT-2's 124M shape on {trained['machine']['cores']} processor cores ({trained['machine']['processor']}): "
            f"{number(ours['tokens_per_second']['median'])} useful tokens a second. That is {times:.1f} times the recipe that this course "
            f"began from, in {memory:.0%} of its memory; the best other way we know, given every setting of ours, reaches "
            f"{number(peer['tokens_per_second']['median'])}."
        )
    if reached:
        sooner = ", ".join(f"{one['sooner']:.1f} times sooner ({name})" for name, one in reached["summary"].items() if one["sooner"])
        if sooner:
            missed = [name for name, one in reached["summary"].items() if one["ours_seconds"] is None]
            without = f", and is not reached by our plan with {', '.join(missed)}" if missed else ""
            said.append(f"The perplexity that the corrected recipe reaches in a fixed time is there {sooner}{without}.")
    if made:
        one = made["summary"]["smollm2"]
        ours, plain = (one[name]["one_tokens_per_second"]["median"] for name in ("nbtools bf16", "transformers bf16"))
        said.append(f"Generation with SmolLM2 in bf16: {number(ours)} tokens a second, where `model.generate` makes {number(plain)}.")
    if not said:
        return NOTHING
    goals = [one for name in TABLES if (record := figures(name, results)) for one in record["goals"]]
    met = sum(one["met"] for one in goals)
    said.append(f"{met} of {len(goals)} goals are met; [benchmarks/](benchmarks/README.md) has all of them, and how each was measured.")
    return "\n".join(said)


def between(text: str, begin: str, end: str, content: str, file: str) -> str:
    """`text` with `content` between its markers. Raises InputError where they are not there exactly once, in order."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(f"{file} does not have the markers {begin} and {end}, once each.", "Put both where the figures belong.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def page(text: str, results: Path = RESULTS) -> str:
    """benchmarks/README.md with every table as the results give it."""
    for name in TABLES:
        text = between(text, f"<!-- table: {name} -->", f"<!-- end of table: {name} -->", section(name, results), "benchmarks/README.md")
    return text


def readme(text: str, results: Path = RESULTS) -> str:
    """The course's README.md with its paragraph about speed."""
    return between(text, *SPEED, speed(results), "README.md")


def main(check: bool) -> int:
    stale = []
    try:
        for path, make in ((PAGE, page), (README, readme)):
            text = path.read_text(encoding="utf8")
            if (wanted := make(text)) != text:
                stale.append(str(path.relative_to(ROOT)))
                if not check:
                    write_text(path, wanted)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'out of date' if check else 'written'}: {', '.join(stale)}" if stale else "the pages show what the results say")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
