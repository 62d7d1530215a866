"""The model card of a pretrained model, written from the records of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbtools.texts import escape_markdown

FRONT = "---\nlanguage: en\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n"
BOOKS = "Books in the public domain in the United States, plain English prose in the text of Standard Ebooks productions (CC0)."
GENERATED = (
    "{documents:,} short texts of modern English, {characters:.1f} million characters, sampled from SmolLM2-135M-Instruct (Apache-2.0): "
    "beginnings that it continued, and pieces about everyday things that it was asked for (`tools/mini/prompts.py`). Texts about films, "
    "repetitive ones and near duplicates were left out (`tools/mini/filters.py`). Each counts {repeat} times in training. "
)
NO_REVIEWS = "Neither the model nor its tokenizer has seen a film review."
LIMITS = (
    "It loses its thread soon. It knows nothing of facts, it carries the views of its books, most of them a century old, and the manner of "
    "the model that wrote the rest. It is for learning how such models work, and for nothing else."
)
LICENCE = "MIT, like the course. The books are in the public domain; the texts of SmolLM2 were made for this model."


def pretraining_card(
    name: str, record: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], experiments: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, str]], extra: str = "", chosen: str = "",
) -> str:  # fmt: skip
    """The model card as Markdown.

    name         the model's name
    record       the contents of `pretraining.json`, written by `python -m tools.mini train`
    curve        the rows of `curve.jsonl`
    experiments  the rows of the experiments' log
    samples      dicts with `prompt` and `text`, not selected
    extra        further figures, as Markdown
    chosen       the conclusions drawn from the experiments
    """
    recipe = record["recipe"]
    shape = (
        f"{recipe['layers']} layers, {recipe['heads']} heads, width {recipe['width']}, {recipe['context']} positions, output layer "
        f"{'tied to the token embedding' if recipe['tied'] else 'of its own'}: {record['parameters']:,} parameters"
    )
    parts = [
        f"{FRONT}\n# {name}",
        "A small GPT-2 that ships with the course, so that every notebook runs without a network. It is a standard `GPT2LMHeadModel`;\n"
        f'`AutoModelForCausalLM.from_pretrained("nbtools/assets/{name}", dtype="float32")` loads it without this package.',
        _table(
            ["", ""],
            [
                ["shape", shape],
                [
                    "tokenizer",
                    f"own byte-level BPE of {recipe['vocabulary']:,} tokens; id 0 is `<|endoftext|>`, which begins every document",
                ],
                ["stored as", "fp16 safetensors; load it as fp32 before training, as `nbtools.load_model` does"],
            ],
        ),
        "## Data",
        _data(record),
        "## Training",
        _training(record),
    ]
    if points := [row for row in curve if "held_out_bits_per_byte" in row]:
        rows = [
            [f"{row['step']:,}", f"{row['tokens'] / 1e6:.1f}", f"{row['loss']:.3f}", f"{row['held_out_bits_per_byte']:.3f}"]
            for row in points
        ]
        head = ["step", "million tokens", "loss, nats per token", "held out, bits per byte"]
        parts += ["The curve: training loss, and parts of the held-out books.", _table(head, rows)]
    if score := record.get("held_out_score"):
        parts.append(
            f"Complete held-out books, after training: **{score['bits_per_byte']:.4f} bits per byte** ({score['tokens']:,} tokens)."
        )
    if extra:
        parts.append(extra)
    if experiments:
        parts += ["## What it was chosen by", *([chosen] if chosen else []), *_experiments(experiments)]
    parts += ["## Samples", f"{len(samples)} in a row, none left out: temperature 0.8, top-p 0.95, seeds 0, 1, 2 …"]
    texts = [(escape_markdown(sample["prompt"]), escape_markdown(sample["text"])) for sample in samples]
    parts += ["\n".join(f"{number}. **{prompt}** {text}" for number, (prompt, text) in enumerate(texts, 1))]
    parts += ["## Limits", LIMITS, "## Licence", LICENCE]
    return "\n\n".join(parts) + "\n"


def _data(record: Mapping[str, Any]) -> str:
    documents, characters = record.get("generated_documents", 0), record.get("generated_characters", 0) / 1e6
    books = f"{record['documents'] - documents} of them, {record['characters'] / 1e6 - characters:.1f} million characters. "
    generated = GENERATED.format(documents=documents, characters=characters, repeat=record.get("repeat", 1)) if documents else ""
    held = ", ".join(f"*{source}*" for source in record["held_out"]) or "none"
    return f"{BOOKS} {books}Held out, complete: {held}.\n\n{generated}{NO_REVIEWS}"


def _training(record: Mapping[str, Any]) -> str:
    recipe, choices = record["recipe"], record["choices"]
    optimizer = f"AdamW ({recipe['rate']:g})"
    if recipe["optimizer"] == "muon":
        optimizer = f"Muon for the matrices of the blocks ({recipe['matrix_rate']:g}), AdamW for the rest ({recipe['rate']:g})"
    short = f" The first {recipe['short_share']:.0%} of the steps in rows of {recipe['short']} tokens." if recipe["short_share"] else ""
    return (
        f"{recipe['steps']:,} steps of {recipe['batch_size']} blocks, {record['tokens'] / 1e6:.1f} million tokens, {record['flops']:.2g} "
        f"floating-point operations: {record['seconds'] / 60:.0f} minutes on {record['machine']['cores']} processor cores in "
        f"{choices['dtype']}. {optimizer}, weight decay {recipe['weight_decay']:g}, schedule {recipe['schedule']} after a warm-up of "
        f"{recipe['warmup']:.0%}, dropout {recipe['dropout']:g}.{short}"
    )


def _experiments(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """One table per amount of compute: bits per byte of the held-out books, and the difference to the base recipe."""
    parts = []
    for flops in sorted({row["flops"] for row in log}):
        rows = [row for row in log if row["flops"] == flops]
        base = {row["seed"]: row["bits_per_byte"] for row in rows if row["name"] == "base"}
        cells = []
        for row in sorted(rows, key=lambda row: row["bits_per_byte"]):
            against = f"{row['bits_per_byte'] / base[row['seed']] - 1:+.1%}" if row["seed"] in base else ""
            size, tokens = f"{row['parameters'] / 1e6:.1f}", f"{row['tokens'] / 1e6:.2f}"
            cells.append([row["name"], row["asks"], size, tokens, f"{row['seconds']:.0f}", f"{row['bits_per_byte']:.3f}", against])
        head = ["recipe", "asks", "million parameters", "million tokens", "seconds", "bits per byte", "against base"]
        intro = f"Short trainings of {flops:.1g} floating-point operations each, best first; scored on parts of the held-out books."
        parts += [intro, _table(head, cells)]
    return parts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
