"""Continue prompts with text, whole or token by token."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.generation import kernel, library
from nbtools.generation.decoder import Cache, Decoder, prepare, refusal
from nbtools.generation.decoding import Chooser, Decoding
from nbtools.generation.prompts import added_text, check_prompts, encode, end_ids
from nbtools.runtime import choose_dtype
from nbtools.runtime.arguments import checked

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel


def generate(
    lm: LanguageModel,
    prompts: str | Sequence[str],
    *,
    max_new_tokens: int = 50,
    max_length: int | None = None,
    seed: int = 0,
    num_samples: int = 1,
    dtype: str | None = None,
    on_text: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **decoding: Any,
) -> str | list[str]:
    """Continue each prompt; returns the texts, prompt included (one text for a single string, else a list).

    max_new_tokens   at most this many tokens are added; `max_length` bounds prompt and continuation together instead
    seed             of every prompt's own random stream: the same prompt, seed and values give the same text, alone or in a batch
    num_samples      texts a prompt; sample j uses seed + j, and a list is returned, prompt by prompt
    dtype            number format of the weights while decoding. None: as the model holds them (fp32 in this course), which gives
                     transformers' own tokens. "bf16": half the bytes to read, so nearly twice as fast for a model larger than the
                     processor's cache; a token may differ where two are almost equally likely. "auto": what
                     `nbtools.runtime.choose_dtype` measured to be fast here; "fp32": full precision
    on_text          called with the whole new text after every token (one prompt, one sample, no beams)
    should_stop      asked after every token; True ends the generation there
    decoding         the fields of `Decoding`: do_sample, temperature, top_k, top_p, min_p, repetition_penalty, num_beams

    GPT-2 and Llama models on a CPU are decoded by `nbtools.generation.decoder`, all else by transformers' `generate`, with the same
    results (`decoder_name` tells). In bf16 the first call copies the weights and keeps the copy until `release(lm.model)`.

    An empty prompt starts from end-of-text, as every training document does. A prompt that leaves no room in the model's
    context loses its beginning, with a warning that says how much. Raises InputError for anything that is not text.
    """
    single = isinstance(prompts, str)
    texts = check_prompts([prompts] if single else prompts)  # type: ignore[list-item]
    plan = _plan(lm, texts, max_new_tokens, max_length, seed, num_samples, dtype, Decoding(**decoding))
    if on_text is not None and (len(plan.rows) > 1 or plan.choice.num_beams > 1):
        raise InputError("Text can be followed for one prompt, one sample and no beams only.", "Leave out on_text.")
    found: list[list[int]] = [[] for _ in plan.rows]

    def tell() -> None:
        if on_text is not None:
            on_text(plan.text(0, found[0]).rstrip("�"))

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
    repeated = [text for text in texts for _ in range(num_samples)]
    results = [text + plan.text(row, ids) for row, (text, ids) in enumerate(zip(repeated, found, strict=True))]
    return results[0] if single and num_samples == 1 else results


def stream(
    lm: LanguageModel,
    prompt: str,
    *,
    max_new_tokens: int = 50,
    max_length: int | None = None,
    seed: int = 0,
    dtype: str | None = None,
    **decoding: Any,
) -> Iterator[str]:
    """The continuation of one prompt piece by piece, as each token is made; the arguments of `generate`.

    The pieces joined are the text that `generate` adds. A token that ends inside a character waits for the rest of it. Closing the
    iterator, or leaving its loop, ends the generation. Beams have no text before they end and are refused.
    """
    if not isinstance(prompt, str):
        raise InputError(f"The prompt is {type(prompt).__name__}, not text.", "Give one string; `generate` takes a list.")
    choice = Decoding(**decoding)
    if choice.num_beams > 1:
        raise InputError("A beam search knows its text only at the end.", "Leave out num_beams, or call generate.")
    return _pieces(_plan(lm, [prompt], max_new_tokens, max_length, seed, 1, dtype, choice))


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
    choice: Decoding
    ends: set[int]
    number: torch.dtype
    decoder: Decoder | None

    def text(self, row: int, ids: list[int]) -> str:
        """The text that `ids` add to the row's, up to its end or limit."""
        ids = ids[: self.limits[row]]
        stop = next((at for at, one in enumerate(ids) if one in self.ends), len(ids))
        return added_text(self.lm, self.rows[row], ids[:stop])

    def library_task(self) -> library.Task:
        return library.Task(self.rows, max(self.limits), self.choice, self.seeds, self.ends, self.number)


def _plan(
    lm: LanguageModel, texts: list[str], max_new_tokens: int, max_length: int | None, seed: int, samples: int, dtype: str | None,
    choice: Decoding,
) -> _Plan:  # fmt: skip
    rows = [ids for ids in encode(lm, texts, max_new_tokens, max_length) for _ in range(samples)]
    seeds = [seed + sample for _ in texts for sample in range(samples)]
    limits = [min(max_new_tokens if max_length is None else max(1, max_length - len(row)), lm.context - len(row)) for row in rows]
    number = _number_format(lm, dtype)
    decoder = prepare(lm.model, number) if choice.num_beams == 1 else None
    return _Plan(lm, rows, seeds, limits, choice, end_ids(lm), number, decoder)


def _number_format(lm: LanguageModel, name: str | None) -> torch.dtype:
    import torch

    formats = {None: lm.model.dtype, "fp32": torch.float32, "bf16": torch.bfloat16}
    if name == "auto":
        return choose_dtype().torch_dtype
    if name not in formats:
        raise InputError(f"dtype is {name!r}.", 'Give "fp32", "bf16", "auto" or None.')
    return formats[name]


def _steps(plan: _Plan, decoder: Decoder) -> Iterator[list[tuple[int, int]]]:
    """Yields after every step the tokens made: (row, token). A row leaves at its end or its limit."""
    cache = Cache.empty(decoder.weights, len(plan.rows), max(len(row) + limit for row, limit in zip(plan.rows, plan.limits, strict=True)))
    chooser = Chooser(plan.choice, plan.seeds)
    histories = [list(row) for row in plan.rows]
    # Samples of one prompt read it once.
    firsts = [plan.rows.index(row) for row in plan.rows]
    readers = sorted(set(firsts))
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
        logits = decoder.read([histories[row][-1:] for row in active], active, cache)
