"""The tables of benchmarks/README.md, a function for each benchmark, and how a figure is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Record = dict[str, Any]  # a stored result


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is of figures, which stand to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three digits that count, in full above a thousand."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ranged(values: dict[str, float], scale: float = 1.0) -> str:
    """The median, with the least and the most."""
    median, least, most = (number(values[name] / scale) for name in ("median", "min", "max"))
    return median if least == most else f"{median} ({least} to {most})"


def goals_table(record: Record) -> str:
    rows = []
    for one in record["goals"]:
        value = "not measured" if one["value"] is None else number(one["value"])
        rows.append([one["name"], value, f"{one['sense']} {number(one['goal'])}", "yes" if one["met"] else "**no**"])
    return table(["goal", "measured", "wanted", "met"], rows) if rows else ""


def about(record: Record) -> str:
    """One line: machine, versions, when, how long, and whether something else took the processor meanwhile."""
    machine, versions = record["machine"], record["versions"]
    units = ", ".join(machine["units"]) or "none named"
    rows = [row for rows in _lists(record["raw"]) for row in rows]
    busiest = max((row.get("others_percent", 0.0) for row in rows), default=0.0)
    quiet = "nothing else was seen to run" if busiest < 10 else f"**something else took up to {busiest:.0f} % of a core**"
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "trl", "llama-cpp-python") if name in versions)
    return (
        f"*{record['created'][:10]}, {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB "
        f"({units}); Python {versions['python']}, {libraries}; {record['rounds']} round{'s' if record['rounds'] > 1 else ''} in "
        f"{record['minutes']:.0f} minutes, {quiet}. `{record['command']}`*"
    )


def _lists(raw: Any) -> list[list[Record]]:
    """The lists of rows inside `raw`, however deep."""
    if isinstance(raw, list):
        return [[row for row in raw if isinstance(row, dict)]]
    return [found for value in raw.values() for found in _lists(value)] if isinstance(raw, dict) else []


LABELS = {
    "walkthrough": "walkthrough: Trainer, fp32, padded, labels wrong",
    "corrected": "the same, labels right",
    "trl": "TRL SFTTrainer, packed, bf16, compiled, every setting we use",
    "trainer": "Trainer, packed, bf16, compiled",
    "trainer_tuned": "the same, every setting we use",
    "ours": "**nbtools.finetune**",
}


def finetune_throughput(record: Record) -> str:
    summary, rows = record["summary"], []
    for name, label in LABELS.items():
        one = summary[name]
        first = f"{one['first_step_seconds_cold']:.0f} / {one['first_step_seconds']['median']:.0f}"
        cells = [
            ranged(one["tokens_per_second"]), f"{record['against_walkthrough'][name]:.2f} ×", f"{record['share_of_peak'][name]:.0%}",
            ranged(one["peak_memory_bytes"], 1e9), ranged(one["tree_memory_bytes"], 1e9), first,
        ]  # fmt: skip
        rows.append([label, *cells])
    head = [
        "recipe",
        "useful tokens/s",
        "against the walkthrough",
        "of the bf16 peak",
        "peak memory, GB",
        "with helpers, GB",
        "first step, s",
    ]
    machine = summary["machine"]
    speeds = (
        f"Measured in the same rounds: {ranged(machine['bf16_gflops'])} GFLOP/s in bf16, {ranged(machine['fp32_gflops'])} in fp32. "
        "The first step's seconds are those with an empty compiler's cache and the median."
    )
    return f"{table(head, rows)}\n\n{speeds}"


def dropout(record: Record) -> str:
    head = [f"mini, {record['steps']} steps", "validation perplexity", *[f"seed {row['seed']}" for row in record["raw"]["0.1"]]]
    rows = [
        [f"dropout {name}", ranged(record["summary"][name]), *[f"{row['perplexity']:.2f}" for row in rows]]
        for name, rows in record["raw"].items()
    ]
    return table(head, rows)


def time_to_perplexity(record: Record) -> str:
    rows = []
    for name, one in record["summary"].items():
        ours = "not reached" if one["ours_seconds"] is None else ranged(one["ours_seconds"])
        if one["sooner"] is not None:
            sooner = f"{one['sooner']:.1f} ×"
        else:  # missed, or the recipe set no goal
            sooner = "not reached" if one["ours_seconds"] is None else "no better than before"
        rows.append(
            [name, number(one["before"]), number(one["walkthrough_perplexity"]), ranged(one["corrected_perplexity"]),
             f"{one['learning_rate']:g}", ranged(one["corrected_seconds"]), ours, sooner]
        )  # fmt: skip
    head = ["model", "perplexity before", "walkthrough", "corrected", "its rate", "its seconds", "our seconds to the same", "sooner"]
    return table(head, rows)


def generation(record: Record) -> str:
    rows = []
    for model, variants in record["summary"].items():
        for name, one in variants.items():
            batch = ranged(one["batch_tokens_per_second"]) if "batch_tokens_per_second" in one else ""
            label = f"**{name}**" if name.startswith("nbtools") else name
            rows.append([f"{model}: {label}", ranged(one["one_tokens_per_second"]), f"{one['share_of_limit']:.0%}", batch])
    batch_size = record["settings"]["batch"]
    head = ["model and program", "tokens/s, one stream", "of the memory limit", f"tokens/s, batch of {batch_size}"]
    read = ranged(record["machine_speed"]["read_bytes_per_second"], 1e9)
    said = [f"Memory is read at {read} GB/s here; the limit is the best of these, divided by the bytes of the weights."]
    for model, one in record["equality"].items():
        said.append(
            f"{model}: of {one['tokens']:,} greedy tokens, {one['same_fp32']:,} are the same in fp32; in bf16 {one['differing_bf16']:,} "
            f"differ, {one['differing_clearly']:,} of them where the two best logits are more than {one['gap']} of the best apart."
        )
    for model in record["summary"]:
        program = record["raw"][f"{model}: nbtools bf16"][0]["program"]
        said.append(f"{model} was decoded by the {program['one']}, and in the batch by the {program['batch']}.")
    if not record["settings"]["llama.cpp"]:
        said.append("llama.cpp was not installed.")
    return f"{table(head, rows)}\n\n{' '.join(said)}"


def estimate(record: Record) -> str:
    rows = []
    for name, one in record["summary"].items():
        seconds = [ranged(one["predicted_seconds"]), ranged(one["seconds"]), f"{one['off']['seconds']:.0%}"]
        memory = [ranged(one["predicted_memory_bytes"], 1e9), ranged(one["memory_bytes"], 1e9), f"{one['off']['memory']:.0%}"]
        rows.append([name, *seconds, *memory, ranged(one["probe_seconds"])])
    head = ["run", "predicted, s", "took, s", "most off", "predicted, GB", "held, GB", "most off", "the probe, s"]
    return table(head, rows)


def attention_payload(record: Record) -> str:
    rows = []
    for name, one in record["summary"].items():
        parts = [one.get("module_bytes"), one.get("still_bytes"), one.get("layer_bytes")]
        sizes = [f"{one['data_bytes'] / 1e6:,.3f}", *["" if part is None else f"{part / 1e6:.3f}" for part in parts]]
        moving = [ranged(one["first_ms"], 1e3), ranged(one["memory_bytes"], 1e6), ranged(one["switch_ms"]) if one["switch_ms"] else ""]
        rows.append([name.replace("ours", "**ours**") + " tokens", *sizes, *moving])
    head = ["page", "data, MB", "module, MB", "still, MB", "a further layer, MB"]
    head += ["to first sight, s", "page's process, MB", "to another layer, ms"]
    said = "" if record["settings"]["bertviz"] else "\n\nBertViz was not installed."
    return table(head, rows) + said


def course(record: Record) -> str:
    rows = [[name, f"{one['seconds']:.0f}", f"{one['peak_memory_bytes'] / 1e9:.2f}"] for name, one in record["summary"].items()]
    return table(["notebook", "seconds", "peak memory, GB"], rows)


def profile(record: Record) -> str:
    summary = record["summary"]
    groups = list(next(iter(summary.values()))["groups"])
    rows = [
        [name, *[f"{one['groups'][name]:,.0f} ({one['groups'][name] / sum(one['groups'].values()):.0%})" for one in summary.values()]]
        for name in groups
    ]
    rows.append(["a step by the clock", *[f"{one['step_milliseconds']:,.0f}" for one in summary.values()]])
    return table(["milliseconds a step", *summary], rows)


def mini(record: Record) -> str:
    before, rows = record["summary"]["before"], []
    labels = {"book": "a held-out book", "reviews": "reviews, before"}
    for name, label in labels.items():
        if all(name in one for one in before.values()):
            old, new = before["earlier"][name], before["shipped"][name]
            rows.append([label, f"{old:.3f}", f"{new:.3f}", f"{1 - new / old:.1%}"])
    for minutes, one in record["summary"]["after"].items():
        old, new, fewer = (dict(one[name].items()) for name in ("earlier", "shipped", "fewer"))
        cells = [f"{part['median']:.3f} ({part['min']:.3f} to {part['max']:.3f})" for part in (old, new)]
        cells.append(f"{fewer['median']:.1%} ({fewer['min']:.1%} to {fewer['max']:.1%})")
        rows.append([f"reviews, after {minutes} minute{'' if float(minutes) == 1 else 's'}", *cells])
    return table(["bits per byte", "earlier model", "shipped", "fewer"], rows)


def adapters(record: Record) -> str:
    rows = [["untrained", f"{record['untrained']:.3f}", "", ""]]
    for name, one in record["summary"].items():
        quality = one["bits_per_byte"]
        cells = [f"{quality['median']:.3f} ({quality['min']:.3f} to {quality['max']:.3f})", ranged(one["peak_memory_bytes"], 1e9)]
        rows.append([name, *cells, ranged(one["seconds"])])
    settings = record["settings"]
    head = [f"{settings['profile']}, {settings['steps']} steps", "bits per byte, validation", "peak memory, GB", "seconds"]
    said = f"In the same round adapters take {record['ratios']['memory']:.2f} of the memory and {record['ratios']['time']:.2f} of the time."
    return f"{table(head, rows)}\n\n{said}"


def sweep(record: Record) -> str:
    summary, count = record["summary"], record["settings"]["runs"]
    ways = table([f"{count} runs, {record['settings']['busy_seconds']:g} s of work in each", "seconds a run"],
                 [[f"**{name}**" if name.startswith("sweep") else name, ranged(one)] for name, one in summary["ways"].items()])  # fmt: skip
    ratios = summary["ratios"]
    said = (
        f"A run of a sweep takes {ratios['overhead']:.2f} times as long as bare papermill by command, {ratios['overhead_in_process']:.2f} "
        f"times as long as in one process; two workers are {ratios['two_workers']:.2f} times as fast as one; Dask's two take "
        f"{ratios['dask']:.2f} times as long as two processes, its cluster's start included."
    )
    head = ["runs without work, two workers", "seconds a run", "end against beginning", "memory of the parent, MB"]
    rows = [
        [f"{int(name):,}", number(one["seconds"]), f"{one['growth']:.2f} ×", number(one["parent_memory_bytes"] / 1e6)]
        for name, one in summary["growth"].items()
    ]
    return f"{ways}\n\n{said}\n\n{table(head, rows)}"


TABLES: dict[str, Callable[[Record], str]] = {
    "finetune_throughput": finetune_throughput,
    "dropout": dropout,
    "time_to_perplexity": time_to_perplexity,
    "generation": generation,
    "estimate": estimate,
    "attention_payload": attention_payload,
    "course": course,
    "profile": profile,
    "adapters": adapters,
    "sweep": sweep,
    "mini": mini,
}
