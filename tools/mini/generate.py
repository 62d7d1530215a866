"""The generated half of mini's corpus: modern, plain English sampled from SmolLM2, in shards, so that it can be resumed."""

from __future__ import annotations

import json
import lzma
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.models import LanguageModel
from nbtools.storage import write_text
from nbtools.storage.json_files import read_json_lines
from nbtools.system import say
from tools.mini.corpus import Document
from tools.mini.filters import kept
from tools.mini.prompts import OPENINGS, request
from tools.mini.teacher import BatchedLlama, Sampling, sample_texts

TEACHER = "smollm2"
SHARD = 2048  # prompts
CHAT_SHARE = 0.7  # of the prompts; the others are beginnings that are continued freely
LONGEST_PROMPT = 96  # tokens
ENDS = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")


def shard_prompts(tokenizer: Any, seed: int, count: int = SHARD) -> list[tuple[str, str, list[int]]]:
    """`count` prompts: the kind ("chat" or "free"), the request or the beginning, and the token ids."""
    draws = random.Random(seed)
    begin = tokenizer.convert_tokens_to_ids("<|endoftext|>")  # stands between documents in the teacher's pretraining
    prompts: list[tuple[str, str, list[int]]] = []
    while len(prompts) < count:
        if draws.random() < CHAT_SHARE:
            text = request(draws)
            message = [{"role": "user", "content": text}]
            ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True, return_dict=False)
            prompts.append(("chat", text, list(ids)))
        else:
            text = draws.choice(OPENINGS)
            prompts.append(("free", text, [begin, *tokenizer.encode(text, add_special_tokens=False)]))
    return prompts


def generate_shards(
    lm: LanguageModel, out: Path, shards: int, *, first: int = 0, rows: int = 256, sampling: Sampling | None = None, count: int = SHARD
) -> None:
    """Write `shards` files of `count` texts by the teacher `lm` into the folder `out`; those that are there are not made again.

    first  number of the first shard, which is also its seed; another number gives other texts
    rows   texts that are sampled at a time

    A line holds `kind`, `prompt`, `text`, `tokens`, `ended` and `temperature`. Nothing is filtered here (`read_shards`).

    Raises InputError if `out` is a file.
    """
    if out.is_file():
        raise InputError(f"{out} is a file.", "Give a folder for the shards.")
    sampling = sampling or Sampling()
    due = [number for number in range(first, first + shards) if not _path(out, number).is_file()]
    say(f"{shards - len(due)} of {shards} shards are there.")
    if not due:
        return
    vocabulary: dict[str, int] = lm.tokenizer.get_vocab()
    ends = [vocabulary.get(token, lm.document_id) for token in ENDS]
    llama = BatchedLlama(lm.model, rows, LONGEST_PROMPT + sampling.max_new_tokens)
    made, begun = 0, time.monotonic()
    for done, number in enumerate(due):
        prompts = shard_prompts(lm.tokenizer, number, count)
        lines = []
        for sample in sample_texts(llama, [ids for _, _, ids in prompts], ends, sampling, number):
            kind, text, _ = prompts[sample.index]
            written = str(lm.tokenizer.decode(sample.ids))
            whole = f"{text}{written}" if kind == "free" else written
            lines.append({"kind": kind, "prompt": text, "text": whole.strip(), "tokens": len(sample.ids), "ended": sample.ended})
            lines[-1]["temperature"] = sample.temperature
            made += len(sample.ids)
        write_text(_path(out, number), "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        seconds = time.monotonic() - begun
        left = seconds / (done + 1) * (len(due) - done - 1)
        say(f"shard {number}, {done + 1} of {len(due)}: {made:,} tokens, {made / seconds:,.0f} per second, {left / 60:.0f} minutes left")


def _path(out: Path, number: int) -> Path:
    return out / f"shard-{number:04d}.jsonl"


def read_shards(folder: Path, counts: dict[str, int], earlier: Iterable[Document] = ()) -> Iterator[Document]:
    """The texts of all shards that are good enough and unlike `earlier` ones, as documents. Counts in `counts` why others were left out.

    Raises InputError if there is no shard.
    """
    paths = sorted(folder.glob("shard-*.jsonl"))
    if not paths:
        raise InputError(f"There is no shard in {folder}.", f"Run: python -m tools.mini generate {folder}")
    texts = (
        Document(f"{TEACHER}-{path.stem.removeprefix('shard-')}-{row:04d}", line["text"])
        for path in paths
        for row, line in enumerate(read_json_lines(path))
    )
    yield from kept(texts, counts, earlier)


def is_generated(document: Document) -> bool:
    """Whether a document of a corpus is the teacher's."""
    return document.source.startswith(f"{TEACHER}-")


def write_corpus(documents: Iterator[Document], path: Path) -> int:
    """Write documents as a corpus in the format .jsonl.xz. Returns their number."""
    partial = path.with_name(path.name + ".partial")
    number = 0
    with lzma.open(partial, "wt", encoding="utf8", preset=9) as file:
        for document in documents:
            file.write(json.dumps({"source": document.source, "text": document.text}, ensure_ascii=False) + "\n")
            number += 1
    partial.replace(path)
    return number
