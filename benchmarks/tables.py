"""The tables of benchmarks/README.md, a function for each benchmark."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.layout import Block, Table, number, ranged
from benchmarks.store import Record

LABELS = {
    "walkthrough": "walkthrough: Trainer, fp32, padded, labels wrong",
    "corrected": "the same, labels right",
    "trl": "TRL SFTTrainer, packed, bf16, compiled, every setting we use",
    "trainer": "Trainer, packed, bf16, compiled",
    "trainer_tuned": "the same, every setting we use",
    "trainer_linear_loss": "the same, with PyTorch's linear_cross_entropy",
    "ours": "**nbtools.finetune**",
}


def finetune_throughput(record: Record) -> list[Block]:
    summary, rows = record["summary"], []
    for name, label in LABELS.items():
        if name not in summary:  # a recipe that the stored result does not have yet
            continue
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
        "of the matrix peak",
        "peak memory, GB",
        "with helpers, GB",
        "first step, s",
    ]
    machine = summary["machine"]
    speeds = (
        f"Measured in the same rounds: {ranged(machine['bf16_gflops'])} GFLOP/s in bf16, {ranged(machine['fp32_gflops'])} in fp32. "
        f"The peak is that of our recipe's format, {record['dtype']}. "
        "The first step's seconds are those with an empty compiler's cache and the median."
    )
    return [Table(head, rows), speeds]


def dropout(record: Record) -> list[Block]:
    head = [f"mini, {record['steps']} steps", "validation perplexity", *[f"seed {row['seed']}" for row in record["raw"]["0.1"]]]
    rows = [
        [f"dropout {name}", ranged(record["summary"][name]), *[f"{row['perplexity']:.2f}" for row in rows]]
        for name, rows in record["raw"].items()
    ]
    return [Table(head, rows)]


def time_to_perplexity(record: Record) -> list[Block]:
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
    return [Table(head, rows)]


def generation(record: Record) -> list[Block]:
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
    return [Table(head, rows), " ".join(said)]


def estimate(record: Record) -> list[Block]:
    rows = []
    for name, one in record["summary"].items():
        seconds = [ranged(one["predicted_seconds"]), ranged(one["seconds"]), f"{one['off']['seconds']:.0%}"]
        memory = [ranged(one["predicted_memory_bytes"], 1e9), ranged(one["memory_bytes"], 1e9), f"{one['off']['memory']:.0%}"]
        rows.append([name, *seconds, *memory, ranged(one["probe_seconds"])])
    head = ["run", "predicted, s", "took, s", "most off", "predicted, GB", "held, GB", "most off", "the probe, s"]
    return [Table(head, rows)]


def attention_payload(record: Record) -> list[Block]:
    rows = []
    for name, one in record["summary"].items():
        parts = [one.get("module_bytes"), one.get("still_bytes"), one.get("layer_bytes")]
        sizes = [f"{one['data_bytes'] / 1e6:,.3f}", *["" if part is None else f"{part / 1e6:.3f}" for part in parts]]
        moving = [ranged(one["first_ms"], 1e3), ranged(one["memory_bytes"], 1e6), ranged(one["switch_ms"]) if one["switch_ms"] else ""]
        rows.append([name.replace("ours", "**ours**") + " tokens", *sizes, *moving])
    head = ["page", "data, MB", "module, MB", "still, MB", "a further layer, MB"]
    head += ["to first sight, s", "page's process, MB", "to another layer, ms"]
    return [Table(head, rows), "" if record["settings"]["bertviz"] else "BertViz was not installed."]


def site(record: Record) -> list[Block]:
    one, peer = record["summary"], record["settings"]["peer"]
    size = f"{one['total_bytes'] / 1e6:.1f} ({one['base_bytes'] / 1e6:.1f})"
    ours = [
        "**the course's pages**, mini", "8", size, ranged(one["first_seconds"]),
        ranged(one["first_visit_seconds"]), ranged(one["distribution_seconds"]), ranged(one["tokens_per_second"]),
        ranged(one["memory_bytes"], 1e6),
    ]  # fmt: skip
    theirs = [peer["name"], f"{peer['parameters'] / 1e6:.0f}", f"{peer['bytes'] / 1e6:.0f}", *[""] * 5]
    head = ["pages", "million parameters", "MB in all (of them the model)", "from a disk, s", "from a server, s"]
    head += ["of that once loaded, s", "tokens/s", "the tab's memory, MB"]
    return [Table(head, [ours, theirs])]


def course(record: Record) -> list[Block]:
    rows = [[name, f"{one['seconds']:.0f}", f"{one['peak_memory_bytes'] / 1e9:.2f}"] for name, one in record["summary"].items()]
    return [Table(["notebook", "seconds", "peak memory, GB"], rows)]


def profile(record: Record) -> list[Block]:
    summary = record["summary"]
    groups = list(next(iter(summary.values()))["groups"])
    rows = [
        [name, *[f"{one['groups'][name]:,.0f} ({one['groups'][name] / sum(one['groups'].values()):.0%})" for one in summary.values()]]
        for name in groups
    ]
    rows.append(["a step by the clock", *[f"{one['step_milliseconds']:,.0f}" for one in summary.values()]])
    return [Table(["milliseconds a step", *summary], rows)]


def mini(record: Record) -> list[Block]:
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
    return [Table(["bits per byte", "earlier model", "shipped", "fewer"], rows)]


def adapters(record: Record) -> list[Block]:
    rows = [["untrained", f"{record['untrained']:.3f}", "", ""]]
    for name, one in record["summary"].items():
        quality = one["bits_per_byte"]
        cells = [f"{quality['median']:.3f} ({quality['min']:.3f} to {quality['max']:.3f})", ranged(one["peak_memory_bytes"], 1e9)]
        rows.append([name, *cells, ranged(one["seconds"])])
    settings = record["settings"]
    head = [f"{settings['profile']}, {settings['steps']} steps", "bits per byte, validation", "peak memory, GB", "seconds"]
    said = f"In the same round adapters take {record['ratios']['memory']:.2f} of the memory and {record['ratios']['time']:.2f} of the time."
    return [Table(head, rows), said]


def sweep(record: Record) -> list[Block]:
    summary, count = record["summary"], record["settings"]["runs"]
    ways = Table([f"{count} runs, {record['settings']['busy_seconds']:g} s of work in each", "seconds per run"],
                 [[f"**{name}**" if name.startswith("sweep") else name, ranged(one)] for name, one in summary["ways"].items()])  # fmt: skip
    ratios = summary["ratios"]
    said = (
        f"A run of a sweep takes {ratios['overhead']:.2f} times as long as bare papermill by command, {ratios['overhead_in_process']:.2f} "
        f"times as long as in one process; two workers are {ratios['two_workers']:.2f} times as fast as one; Dask's two take "
        f"{ratios['dask']:.2f} times as long as two processes, its cluster's start included."
    )
    head = ["runs without work, two workers", "seconds per run", "end against beginning", "memory of the parent, MB"]
    rows = [
        [f"{int(name):,}", number(one["seconds"]), f"{one['growth']:.2f} ×", number(one["parent_memory_bytes"] / 1e6)]
        for name, one in summary["growth"].items()
    ]
    return [ways, said, Table(head, rows)]


def training_step(record: Record) -> list[Block]:
    rows = []
    for case, one in record["summary"].items():
        milliseconds = [ranged(one[name], 1e-3) for name in ("plain_seconds", "fast_seconds")]
        name, _, dtype = case.partition(", ")
        cells = [ranged(one["ratio"]), f"{one['share_of_peak']['median']:.0%}", ranged(one["tokens_per_second"])]
        rows.append([f"{name}, {one['batch']} x {one['block']} tokens", dtype, *milliseconds, *cells])
    head = ["model and batch", "format", "plain transformers, ms", "fast path, ms", "ratio", "of the matrix peak", "tokens/s"]
    machine = record["machine_speed"]
    said = f"The peak is that of the format: {ranged(machine['fp32_gflops'])} GFLOP/s in fp32, {ranged(machine['bf16_gflops'])} in bf16."
    left_out = record["settings"]["left_out"]
    return [Table(head, rows), said + (f" Left out, because bf16 is emulated there: {', '.join(left_out)}." if left_out else "")]


def scoring(record: Record) -> list[Block]:
    rows = []
    for name, one in record["summary"].items():
        speeds = [ranged(one[way]) for way in ("padded_tokens_per_second", "tokens_per_second")]
        rows.append([name, f"{one['reviews']}", f"{one['tokens']:,}", *speeds, ranged(one["ratio"]), f"{one['difference']:.1e}"])
    head = ["model", "reviews", "tokens", "padded, tokens/s", "nbtools.evaluate, tokens/s", "ratio", "greatest difference, nats per token"]
    return [Table(head, rows)]


def learning_rates(record: Record) -> list[Block]:
    rows = []
    for name, one in record["summary"].items():
        rows.append([name, "none", f"{one['before']:.3f}"])
        for rate, bits in one["bits_per_byte"].items():
            best = float(rate) == one["best_rate"]
            rows.append([name, f"{float(rate):g}", f"**{bits:.3f}**" if best else f"{bits:.3f}"])
    return [Table(["model", "learning rate", "bits per byte of held-out reviews"], rows)]


TABLES: dict[str, Callable[[Record], list[Block]]] = {
    "finetune_throughput": finetune_throughput,
    "training_step": training_step,
    "dropout": dropout,
    "time_to_perplexity": time_to_perplexity,
    "generation": generation,
    "scoring": scoring,
    "learning_rates": learning_rates,
    "estimate": estimate,
    "attention_payload": attention_payload,
    "site": site,
    "course": course,
    "profile": profile,
    "adapters": adapters,
    "sweep": sweep,
    "mini": mini,
}
