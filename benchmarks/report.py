"""Write the figures of results/*/*.json into benchmarks/README.md and into the course's README.md.

    python -m benchmarks.report [--check]

With --check nothing is written; the exit status says whether both pages are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness import ROOT, applies
from benchmarks.kinds import kind_of_record
from benchmarks.layout import about, by_kind, goals_table, markdown, number
from benchmarks.store import RESULTS, Record, move_results, stored
from benchmarks.tables import TABLES
from nbtools.errors import CourseError, InputError
from nbtools.storage import write_text

PAGE, README = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
SPEED = ("<!-- speed: written by make bench -->", "<!-- end of speed -->")
NOTHING = "*Not measured yet: run `make bench`.*"


def section(name: str, results: Path = RESULTS) -> str:
    """The part of benchmarks/README.md between the markers of `name`."""
    records = list(stored(name, results).values())
    if not records:
        return NOTHING
    blocks = [*by_kind(records, [TABLES[name](record) for record in records]), *goals_table(records)]
    return "\n\n".join([*map(markdown, blocks), *map(about, records)])


def speed(results: Path = RESULTS) -> str:
    """The paragraphs about speed in the course's README, one per kind of processor."""
    kinds: dict[str, dict[str, Record]] = {}
    for name in TABLES:
        for slug, record in stored(name, results).items():
            kinds.setdefault(slug, {})[name] = record
    said = [paragraph(kinds[slug]) for slug in sorted(kinds)]
    if not said:
        return NOTHING
    return "\n\n".join([*said, "[benchmarks/](benchmarks/README.md) has all goals, and how each was measured."])


def paragraph(records: dict[str, Record]) -> str:
    """What the results of one kind of processor say, with their dates."""
    dates = sorted(record["created"][:10] for record in records.values())
    measured = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    said = [f"**{kind_of_record(next(iter(records.values()))).label}** ({measured})."]
    trained, reached, made = (records.get(name) for name in ("finetune_throughput", "time_to_perplexity", "generation"))
    if trained:
        ours, peer = trained["summary"]["ours"], trained["summary"][trained["best_peer"]]
        memory = ours["peak_memory_bytes"]["median"] / trained["summary"]["walkthrough"]["peak_memory_bytes"]["median"]
        times = trained["against_walkthrough"]["ours"]
        tokens = number(ours["tokens_per_second"]["median"])
        said.append(
            f"Fine-tuning GPT-2's 124M shape in {trained['dtype']}: {tokens} useful tokens per second. "
            f"That is {times:.1f} times the recipe that this course began from, in {memory:.0%} of its memory; the best other way we know, "
            f"with all our settings, reaches {number(peer['tokens_per_second']['median'])}."
        )
    if reached:
        sooner = ", ".join(f"{one['sooner']:.1f} times sooner ({name})" for name, one in reached["summary"].items() if one["sooner"])
        if sooner:
            missed = [name for name, one in reached["summary"].items() if one["ours_seconds"] is None]
            without = f", and not at all with {', '.join(missed)}" if missed else ""
            said.append(f"Fine-tuning reaches the perplexity of the corrected recipe {sooner}{without}.")
    if made:
        one = made["summary"]["smollm2"]
        ours, plain = (one[name]["one_tokens_per_second"]["median"] for name in ("nbtools bf16", "transformers bf16"))
        said.append(f"Generation with SmolLM2 in bf16: {number(ours)} tokens per second, and {number(plain)} with `model.generate`.")
    goals = [one for record in records.values() for one in record["goals"] if applies(one, kind_of_record(record))]
    said.append(f"{sum(one['met'] for one in goals)} of {len(goals)} goals are met.")
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
        if not check:
            move_results()
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
