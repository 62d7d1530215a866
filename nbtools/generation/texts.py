"""Continue prompts with text, all at once or piece by piece."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from nbtools.errors import InputError, MachineError
from nbtools.generation.beams import beam_search
from nbtools.generation.engine import Continuation, Engine, decode, make_engine, number_format
from nbtools.generation.sampling import SamplingParams
from nbtools.models import LanguageModel, exclusive
from nbtools.system import available_memory, say
from nbtools.texts import check_text, check_texts
from nbtools.tokens import decode as decode_ids


def generate(
    lm: LanguageModel,
    prompts: str | Sequence[str],
    *,
    dtype: str | None = None,
    on_text: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **sampling: Any,
) -> str | list[str]:
    """Continue each prompt; returns the texts, prompt included (one text for a single string, else a list).

    sampling     the fields of `SamplingParams`: do_sample, temperature, top_k, top_p, min_p, repetition_penalty, num_beams,
                 max_new_tokens (50), max_length, seed (0), num_samples (1; with more, a list is returned, prompt by prompt)
    dtype        number format of the weights while decoding. None: the model's own (fp32 in this course), which gives transformers' own
                 tokens. "bf16": half the bytes to read, so nearly twice as fast for a model larger than the processor's cache; a token
                 may differ where two are almost equally likely. "auto": what `nbtools.system.choose_dtype` measured to be fast here.
                 "fp32": full precision
    on_text      called with all of the new text after every token (one prompt, one sample, no beams)
    should_stop  called after every token; True ends the generation

    The same prompt, seed and values give the same text, in fp32 alone or in a batch; in bf16 the shape of a batch changes how sums are
    rounded, and occasionally a token. GPT-2 and Llama models on a CPU are decoded by `nbtools.accel`, all others by transformers, with
    the same results (`decoder_name` tells which). In bf16 the first call copies the weights and keeps the copy until `release(lm.model)`.

    An empty prompt starts from end-of-text, as every training document does. A prompt that leaves no room in the model's context loses
    its beginning, with a warning. Raises InputError for anything that is not text, for an unknown name and for an invalid value, and
    MachineError for more texts at once than memory can hold.
    """
    params = SamplingParams.from_options("generate", sampling, also=("dtype", "on_text", "should_stop"))
    single = isinstance(prompts, str)
    if not isinstance(prompts, (str, list, tuple)) or (not single and not prompts):
        raise InputError(f"The prompt is {prompts!r}, which is not text.", "Give a string, or a list of strings.")
    texts = check_texts([prompts] if single else prompts, "prompts")
    if on_text is not None and (len(texts) * params.num_samples > 1 or params.num_beams > 1):
        raise InputError("Text can be followed for one prompt, one sample and no beams only.", "Leave out on_text.")
    # A text that nobody follows is written in one turn; between two tokens of any other the model is free.
    with exclusive(lm.model) if on_text is None and should_stop is None else nullcontext():
        request, number = _prepare(lm, texts, params, dtype)
        added: list[list[int]] = [[] for _ in request.rows]
        if params.num_beams > 1:
            added = beam_search(lm, request, number, should_stop)
        else:
            for steps in decode(make_engine(lm, number), request):
                for step in steps:
                    added[step.row].append(step.token)
                if on_text is not None:
                    on_text(added_text(lm, request.rows[0], added[0], request.ends).rstrip("�"))
                if should_stop is not None and should_stop():
                    break
    repeated = [text for text in texts for _ in range(params.num_samples)]
    results = [text + added_text(lm, row, ids, request.ends) for text, row, ids in zip(repeated, request.rows, added, strict=True)]
    return results[0] if single and params.num_samples == 1 else results


def stream(lm: LanguageModel, prompt: str, *, dtype: str | None = None, **sampling: Any) -> Iterator[str]:
    """The continuation of one prompt piece by piece, as each token is made; the arguments of `generate`, except num_samples.

    The pieces joined are the text that `generate` adds. A token that ends inside a character waits for the rest of it. Closing the
    iterator, or leaving its loop, ends the generation. Raises InputError for beams, which have no text before they end.
    """
    prompt = check_text(prompt, "prompt")
    params = SamplingParams.from_options("stream", sampling, also=("dtype",), without=("num_samples",))
    if params.num_beams > 1:
        raise InputError("A beam search knows its text only at the end.", "Leave out num_beams, or call generate.")
    request, number = _prepare(lm, [prompt], params, dtype)
    return _pieces(lm, request, make_engine(lm, number))


def _pieces(lm: LanguageModel, request: Continuation, engine: Engine) -> Iterator[str]:
    ids: list[int] = []
    text, length = "", 0  # the text so far, and how much of it has been yielded
    for [step] in decode(engine, request):
        ids.append(step.token)
        text = added_text(lm, request.rows[0], ids, request.ends)
        if len(complete := text.rstrip("�")) > length:
            yield complete[length:]
            length = len(complete)
    if text[length:]:
        yield text[length:]


def _prepare(lm: LanguageModel, texts: list[str], params: SamplingParams, dtype: str | None) -> tuple[Continuation, torch.dtype]:
    """The rows to decode, and the number format."""
    new, length = params.max_new_tokens, params.max_length
    rows = [ids for ids in encode(lm, texts, new, length) for _ in range(params.num_samples)]
    seeds = [params.seed + sample for _ in texts for sample in range(params.num_samples)]
    limits = [min(new if length is None else max(1, length - len(row)), lm.context - len(row)) for row in rows]
    number = number_format(lm, dtype)
    _check_memory(lm, len(rows) * params.num_beams, max(len(row) + limit for row, limit in zip(rows, limits, strict=True)), number)
    return Continuation(rows, limits, seeds, params, end_ids(lm)), number


def _check_memory(lm: LanguageModel, rows: int, length: int, number: torch.dtype) -> None:
    """Raise MachineError where keys, values and logits of `rows` texts of `length` tokens are more than the free memory."""
    config = lm.model.config
    groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * groups * size * length * number.itemsize
    needed = rows * (cache + 4 * config.vocab_size)
    free = torch.cuda.mem_get_info()[0] if lm.device.type == "cuda" else available_memory()
    if needed > free:
        problem = f"{rows:,} texts of up to {length:,} tokens at once need {needed / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free."
        raise MachineError(problem, "Give fewer prompts at a time, or a smaller num_samples, num_beams or max_new_tokens.")


def encode(lm: LanguageModel, texts: list[str], max_new_tokens: int, max_length: int | None) -> list[list[int]]:
    """Each text's ids, cut at the beginning, with a warning, where a text leaves no room for the new tokens."""
    if max_new_tokens < 1 or (max_length is not None and max_length < 2):
        raise InputError("No room is left for a new token.", "Give max_new_tokens of at least 1, or max_length of at least 2.")
    room = lm.context - max_new_tokens if max_length is None else min(lm.context, max_length) - 1
    if room < 1:
        raise InputError(f"{max_new_tokens} new tokens do not fit: {lm.name} reads {lm.context}.", f"Give at most {lm.context - 1}.")
    rows = []
    for text in texts:
        ids = list(lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) or [lm.document_id]
        if (surplus := len(ids) - room) > 0:
            say(f"Warning: of the prompt's {len(ids):,} tokens {room:,} fit; the first {surplus:,} were left out.", file=sys.stderr)
            ids = ids[surplus:]
        rows.append(ids)
    return rows


def end_ids(lm: LanguageModel) -> set[int]:
    """Return the tokens that end a text: the token between documents, and the end tokens of the checkpoint."""
    own = lm.model.generation_config.eos_token_id if lm.model.generation_config else None
    return {lm.document_id, *(own if isinstance(own, list) else [] if own is None else [own])}


def added_text(lm: LanguageModel, prompt: list[int], ids: list[int], ends: set[int]) -> str:
    """The text that `ids`, without those in `ends`, add: decoded together with the prompt, as some tokenizers drop a first space."""
    added = [token for token in ids if token not in ends]
    return decode_ids(lm.tokenizer, prompt + added)[len(decode_ids(lm.tokenizer, prompt)) :]
