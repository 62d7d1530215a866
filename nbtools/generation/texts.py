"""Continue prompts with text, whole or token by token."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError, MachineError
from nbtools.generation import kernel, library
from nbtools.generation.decoder import Cache, Decoder, prepare, refusal
from nbtools.generation.decoding import Chooser
from nbtools.generation.params import SamplingParams
from nbtools.generation.prompts import added_text, check_prompts, encode, end_ids
from nbtools.models import Turns, exclusive, exclusively
from nbtools.runtime import available_memory, choose_dtype
from nbtools.texts import check_text
from nbtools.values import Text, checked

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel

DTYPES = Text(("fp32", "bf16", "auto"))


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

    sampling         the fields of `SamplingParams`: do_sample, temperature, top_k, top_p, min_p, repetition_penalty, num_beams,
                     max_new_tokens (50), max_length, seed (0), num_samples (1; with more, a list is returned, prompt by prompt).
                     The same prompt, seed and values give the same text: in fp32 alone or in a batch, while in bf16 the shape of a batch
                     changes how sums are rounded, and with it now and then a token
    dtype            number format of the weights while decoding. None: as the model holds them (fp32 in this course), which gives
                     transformers' own tokens. "bf16": half the bytes to read, so nearly twice as fast for a model larger than the
                     processor's cache; a token may differ where two are almost equally likely. "auto": what
                     `nbtools.runtime.choose_dtype` measured to be fast here; "fp32": full precision
    on_text          called with the whole new text after every token (one prompt, one sample, no beams)
    should_stop      asked after every token; True ends the generation there

    The same prompt, seed and values give the same text, alone or in a batch.
    GPT-2 and Llama models on a CPU are decoded by `nbtools.generation.decoder`, all else by transformers' `generate`, with the same
    results (`decoder_name` tells). In bf16 the first call copies the weights and keeps the copy until `release(lm.model)`.

    An empty prompt starts from end-of-text, as every training document does. A prompt that leaves no room in the model's
    context loses its beginning, with a warning that says how much. Raises InputError for anything that is not text, for an unknown name
    and for an invalid value, and MachineError for more texts at once than memory can hold.
    """
    params = SamplingParams.from_options("generate", sampling, also=("dtype", "on_text", "should_stop"))
    single = isinstance(prompts, str)
    texts = check_prompts([prompts] if single else prompts)  # type: ignore[list-item]
    if on_text is not None and (len(texts) * params.num_samples > 1 or params.num_beams > 1):
        raise InputError("Text can be followed for one prompt, one sample and no beams only.", "Leave out on_text.")

    def tell() -> None:
        if on_text is not None:
            on_text(plan.text(0, found[0]).rstrip("�"))

    # A text that nobody follows is written in one turn; between two tokens of another one the model is free.
    with exclusive(lm.model) if on_text is None and should_stop is None else nullcontext():
        plan = _plan(lm, texts, params, dtype)
        found: list[list[int]] = [[] for _ in plan.rows]
        if plan.decoder is None:

            def keep(token: int) -> None:
                found[0].append(token)
                tell()

            found = library.continue_rows(lm, plan.library_task(), keep if on_text is not None else None, should_stop)
        else:
            for made in _steps(plan, plan.decoder):
                for row, token in made:
                    found[row].append(token)
                tell()
                if should_stop is not None and should_stop():
                    break
    repeated = [text for text in texts for _ in range(params.num_samples)]
    results = [text + plan.text(row, ids) for row, (text, ids) in enumerate(zip(repeated, found, strict=True))]
    return results[0] if single and params.num_samples == 1 else results


def stream(
    lm: LanguageModel,
    prompt: str,
    *,
    dtype: str | None = None,
    **sampling: Any,
) -> Iterator[str]:
    """The continuation of one prompt piece by piece, as each token is made; the arguments of `generate`, but for num_samples.

    The pieces joined are the text that `generate` adds. A token that ends inside a character waits for the rest of it. Closing the
    iterator, or leaving its loop, ends the generation. Beams have no text before they end and are refused.
    """
    prompt = check_text(prompt, "prompt")
    params = SamplingParams.from_options("stream", sampling, also=("dtype",), without=("num_samples",))
    if params.num_beams > 1:
        raise InputError("A beam search knows its text only at the end.", "Leave out num_beams, or call generate.")
    return _pieces(_plan(lm, [prompt], params, dtype))


def _pieces(plan: _Plan) -> Iterator[str]:
    tokens: Generator[int, None, None]
    if plan.decoder is None:
        tokens = library.tokens(plan.lm, plan.library_task())
    else:
        tokens = (token for made in _steps(plan, plan.decoder) for _, token in made)
    ids: list[int] = []
    said = 0
    with closing(tokens):
        for token in tokens:
            ids.append(token)
            text = plan.text(0, ids).rstrip("�")
            if len(text) > said:
                yield text[said:]
                said = len(text)
    if rest := plan.text(0, ids)[said:]:
        yield rest


@checked()
@exclusively
def decoder_name(lm: LanguageModel, dtype: str | None = None, *, rows: int = 1, num_beams: int = 1) -> str:
    """Which code decodes `rows` texts of this model at once, and in which number format: words for a report."""
    number = _number_format(lm, dtype)
    name = str(number).removeprefix("torch.")
    if num_beams > 1:
        return f"transformers, {name} (beam search)"
    decoder = prepare(lm.model, number)
    if decoder is None:
        return f"transformers, {name} ({refusal(lm.model)})"
    compiled = decoder.kernel is not None and rows <= kernel.MOST_TOKENS
    return f"nbtools {'compiled kernel' if compiled else 'in PyTorch'}, {name}"


@dataclass(frozen=True)
class _Plan:
    """What is to be continued: rows of ids, and for each a seed and the most tokens that it may get."""

    lm: LanguageModel
    rows: list[list[int]]
    seeds: list[int]
    limits: list[int]
    params: SamplingParams
    ends: set[int]
    number: torch.dtype
    decoder: Decoder | None
    turns: Turns

    def text(self, row: int, ids: list[int]) -> str:
        """The text that `ids` add to the row's, up to its end or limit."""
        ids = ids[: self.limits[row]]
        stop = next((at for at, one in enumerate(ids) if one in self.ends), len(ids))
        return added_text(self.lm, self.rows[row], ids[:stop])

    def library_task(self) -> library.Task:
        return library.Task(self.rows, max(self.limits), self.params, self.seeds, self.ends, self.number, self.turns)


def _plan(lm: LanguageModel, texts: list[str], params: SamplingParams, dtype: str | None) -> _Plan:
    most, length = params.max_new_tokens, params.max_length
    rows = [ids for ids in encode(lm, texts, most, length) for _ in range(params.num_samples)]
    seeds = [params.seed + sample for _ in texts for sample in range(params.num_samples)]
    limits = [min(most if length is None else max(1, length - len(row)), lm.context - len(row)) for row in rows]
    with exclusive(lm.model):
        number, turns = _number_format(lm, dtype), Turns(lm)
        _check_memory(lm, len(rows) * params.num_beams, max(len(row) + limit for row, limit in zip(rows, limits, strict=True)), number)
        decoder = prepare(lm.model, number) if params.num_beams == 1 else None
    return _Plan(lm, rows, seeds, limits, params, end_ids(lm), number, decoder, turns)


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


def _number_format(lm: LanguageModel, name: str | None) -> torch.dtype:
    import torch

    if name is None:
        return lm.model.dtype
    if DTYPES("dtype", name) == "auto":
        return choose_dtype().torch_dtype
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


def _steps(plan: _Plan, decoder: Decoder) -> Iterator[list[tuple[int, int]]]:
    """Yields after every step the tokens made: (row, token). A row leaves at its end or its limit."""
    cache = Cache.empty(decoder.weights, len(plan.rows), max(len(row) + limit for row, limit in zip(plan.rows, plan.limits, strict=True)))
    chooser = Chooser(plan.params, plan.seeds)
    histories = [list(row) for row in plan.rows]
    # Samples of one prompt read it once.
    firsts = [plan.rows.index(row) for row in plan.rows]
    readers = sorted(set(firsts))
    with plan.turns.turn():
        logits = decoder.read([plan.rows[row] for row in readers], readers, cache)
    for row, first in enumerate(firsts):
        if row != first:
            cache.copy(first, row)
    logits = logits[[readers.index(first) for first in firsts]]
    active = list(range(len(plan.rows)))
    while True:
        made = list(zip(active, chooser(logits, active, [histories[row] for row in active]), strict=True))
        for row, token in made:
            histories[row].append(token)
        yield made
        active = [row for row, token in made if token not in plan.ends and len(histories[row]) < len(plan.rows[row]) + plan.limits[row]]
        if not active:
            return
        with plan.turns.turn():
            logits = decoder.read([histories[row][-1:] for row in active], active, cache)
