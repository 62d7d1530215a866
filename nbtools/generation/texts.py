"""Continue prompts with text, all at once or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError, MachineError
from nbtools.generation.beams import beam_search
from nbtools.generation.decoding import Continuation, decode
from nbtools.generation.engine import Engine, make_engine, number_format
from nbtools.generation.params import SamplingParams
from nbtools.generation.prompts import added_text, check_prompts, encode, end_ids
from nbtools.models import exclusive
from nbtools.system import available_memory
from nbtools.texts import check_text

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel


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
    texts = check_prompts([prompts] if single else prompts)  # type: ignore[list-item]
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


def stream(
    lm: LanguageModel,
    prompt: str,
    *,
    dtype: str | None = None,
    **sampling: Any,
) -> Iterator[str]:
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
    import torch

    config = lm.model.config
    groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * groups * size * length * number.itemsize
    needed = rows * (cache + 4 * config.vocab_size)
    free = torch.cuda.mem_get_info()[0] if lm.device.type == "cuda" else available_memory()
    if needed > free:
        problem = f"{rows:,} texts of up to {length:,} tokens at once need {needed / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free."
        raise MachineError(problem, "Give fewer prompts at a time, or a smaller num_samples, num_beams or max_new_tokens.")
