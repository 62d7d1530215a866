"""Decoding: greedy, sampling and beams through transformers' own `generate`, with draws that can be replayed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from nbtools.errors import InputError
from nbtools.tokens import decode, id_texts

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import LogitsProcessorList

    from nbtools.models import LanguageModel


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen. Greedy unless one of the sampling values is given or `do_sample` says otherwise.

    temperature  divides the logits before the softmax; top_k keeps the k largest; top_p keeps the smallest set whose
    probabilities reach p (Holtzman et al., 2020); min_p keeps tokens with at least p times the largest probability
    repetition_penalty  divides (or, below zero, multiplies) logits of tokens that the text holds (Keskar et al., 2019)
    num_beams    1, or the width of a beam search
    """

    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    num_beams: int = 1

    def __post_init__(self) -> None:
        _within("temperature", self.temperature, 0, None)
        _within("top_k", self.top_k, 0, None)
        _within("top_p", self.top_p, 0, 1)
        _within("min_p", self.min_p, 0, 1)
        _within("repetition_penalty", self.repetition_penalty, 0, None)
        if self.num_beams < 1:
            raise InputError(f"num_beams is {self.num_beams}.", "Give 1 for no beam search, or more.")
        if self.num_beams > 1 and self.samples:
            raise InputError("Beam search and sampling were asked for together.", "Leave out num_beams, or the sampling values.")

    @property
    def samples(self) -> bool:
        if self.do_sample is not None:
            return self.do_sample
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.min_p))

    def warpers(self) -> LogitsProcessorList:
        """transformers' own warpers for these values, in the order in which its `generate` applies them."""
        from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        chosen = LogitsProcessorList()
        if self.temperature is not None and self.temperature != 1:
            chosen.append(TemperatureLogitsWarper(float(self.temperature)))
        if self.top_k:
            chosen.append(TopKLogitsWarper(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            chosen.append(TopPLogitsWarper(float(self.top_p)))
        if self.min_p is not None:
            chosen.append(MinPLogitsWarper(float(self.min_p)))
        return chosen

    def describe(self) -> str:
        if not self.samples:
            return "greedy" if self.num_beams == 1 else f"beam search, {self.num_beams} beams"
        values = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        return "sampling, " + (", ".join(f"{name}={value}" for name, value in values.items() if value is not None) or "no warper")


def _within(name: str, value: float | None, low: float, high: float | None) -> None:
    if value is None:
        return
    wrong_type = isinstance(value, bool) or not isinstance(value, int if name == "top_k" else (int, float))
    zero = value == 0 and name not in {"top_k", "min_p"}  # there zero means "off"; elsewhere it has no meaning
    if wrong_type or zero or value < low or (high is not None and value > high):
        bounds = f"above {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{name} is {value!r}.", f"Give a number {bounds}, or None. For greedy decoding leave out all sampling values.")


class SeededDraw(LogitsProcessor):
    """The last processor of a sampled generation: draws each row's token from its own random stream and leaves only that one.

    The draw is by inverse transform: the first token whose cumulative probability, in id order, exceeds a uniform number.
    A row's numbers depend on its seed alone, not on the other rows, so a prompt's text is the same alone and in a batch.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        import torch

        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        import torch

        chosen = torch.empty(len(scores), 1, dtype=torch.long)
        for row, stream in enumerate(self.streams):
            uniform = torch.rand((), generator=stream, dtype=torch.float64)
            cumulative = scores[row].double().softmax(-1).cpu().cumsum(-1)
            chosen[row, 0] = min(int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)), scores.shape[-1] - 1)
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, chosen.to(scores.device), 0.0)  # type: ignore[return-value]


class PromptRepetition(LogitsProcessor):
    """The library's repetition penalty over a row's own tokens: left padding, which is end-of-text here, is no repetition."""

    def __init__(self, penalty: float, padding: Sequence[int]) -> None:
        from transformers import RepetitionPenaltyLogitsProcessor

        self.penalize, self.padding = RepetitionPenaltyLogitsProcessor(penalty), padding

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        import torch

        rows = zip(input_ids, scores, self.padding, strict=True)
        return torch.cat([self.penalize(ids[None, begin:], row[None]) for ids, row, begin in rows])  # type: ignore[return-value, arg-type]


class _Stop(StoppingCriteria):
    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **keywords: Any) -> torch.BoolTensor:
        import torch

        return torch.full((len(input_ids),), self.asked(), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


class _Stream(BaseStreamer):
    """Hands on the whole new text after every token: text, unlike a token, never ends inside a character."""

    def __init__(self, lm: LanguageModel, told: Callable[[str], None]) -> None:
        self.lm, self.told = lm, told
        self.ids: list[int] | None = None

    def put(self, value: torch.Tensor) -> None:
        if self.ids is None:  # the first call brings the prompt
            self.ids = []
            return
        self.ids += value.flatten().tolist()
        self.told(decode(self.lm.tokenizer, self.ids).rstrip("�"))

    def end(self) -> None:
        return


def generate(
    lm: LanguageModel,
    prompts: str | Sequence[str],
    *,
    max_new_tokens: int = 50,
    max_length: int | None = None,
    seed: int = 0,
    num_samples: int = 1,
    on_text: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **decoding: Any,
) -> str | list[str]:
    """Continue each prompt; returns the texts, prompt included (one text for a single string, else a list).

    max_new_tokens   at most this many tokens are added; `max_length` bounds prompt and continuation together instead
    seed             of every prompt's own random stream: the same prompt, seed and values give the same text, alone or in a batch
    num_samples      texts a prompt; sample j uses seed + j, and a list is returned, prompt by prompt
    on_text          called with the whole new text after every token (one prompt, one sample, no beams)
    should_stop      asked after every token; True ends the generation there
    decoding         the fields of `Decoding`: do_sample, temperature, top_k, top_p, min_p, repetition_penalty, num_beams

    An empty prompt starts from end-of-text, as every training document does. A prompt that leaves no room in the model's
    context loses its beginning, with a warning that says how much. Raises InputError for anything that is not text.
    """
    import torch

    choice = Decoding(**decoding)
    single = isinstance(prompts, str)
    texts = _check_prompts([prompts] if single else prompts)  # type: ignore[list-item]
    if on_text is not None and (len(texts) > 1 or num_samples > 1 or choice.num_beams > 1):
        raise InputError("Text can be followed for one prompt, one sample and no beams only.", "Leave out on_text.")
    rows = [ids for ids in _encode(lm, texts, max_new_tokens, max_length) for _ in range(num_samples)]
    longest = max(map(len, rows))
    pad = lm.document_id
    # Left padding: generation goes on at the right edge, and every row must end there.
    input_ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=lm.device)
    attention_mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=lm.device)
    processors: list[LogitsProcessor] = []
    if choice.repetition_penalty is not None:
        processors.append(
            PromptRepetition(float(choice.repetition_penalty), [longest - len(row) for row in rows for _ in range(choice.num_beams)])
        )
    if choice.samples:
        processors += choice.warpers()
    if choice.samples:
        processors.append(SeededDraw([seed + sample for _ in texts for sample in range(num_samples)]))
    new_tokens = max_new_tokens if max_length is None else None
    if max_length is not None:
        # transformers counts the padding into max_length; rows of other lengths are bounded below, one by one.
        new_tokens = max(1, max_length - min(map(len, rows)))
    settings = _settings(lm, choice, new_tokens)
    was_training, own_settings = lm.model.training, lm.model.generation_config
    lm.model.eval()
    # transformers fills what we leave open from the checkpoint's own generation settings; nothing of them is to be mixed in.
    lm.model.generation_config = GenerationConfig()
    try:
        with torch.inference_mode():
            output = lm.model.generate(  # type: ignore[operator]
                input_ids,
                attention_mask=attention_mask,
                generation_config=settings,
                logits_processor=processors,
                stopping_criteria=[_Stop(should_stop)] if should_stop else None,
                streamer=_Stream(lm, on_text) if on_text else None,
            )
    finally:
        lm.model.generation_config = own_settings
        lm.model.train(was_training)
    limits = [None if max_length is None else max(1, max_length - len(row)) for row in rows]
    repeated = [text for text in texts for _ in range(num_samples)]
    results = [
        text + _continuation(lm, prompt, row[longest:], limit)
        for text, prompt, row, limit in zip(repeated, rows, output.tolist(), limits, strict=True)
    ]
    return results[0] if single and num_samples == 1 else results


def _settings(lm: LanguageModel, choice: Decoding, new_tokens: int | None) -> GenerationConfig:
    ends = {lm.document_id, *_own_ends(lm)}
    return GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,  # SeededDraw has drawn already: the greedy choice among one token
        num_beams=choice.num_beams,
        eos_token_id=sorted(ends),
        pad_token_id=lm.document_id,
        use_cache=True,
    )


def _own_ends(lm: LanguageModel) -> list[int]:
    own = lm.model.generation_config.eos_token_id if lm.model.generation_config else None
    return own if isinstance(own, list) else [] if own is None else [own]


def _continuation(lm: LanguageModel, prompt: list[int], ids: list[int], limit: int | None) -> str:
    """The text that `ids` add: decoded together with the prompt, because some tokenizers drop a text's first space."""
    ends = {lm.document_id, *_own_ends(lm)}
    stop = next((at for at, one in enumerate(ids) if one in ends), len(ids))
    kept = ids[:stop] if limit is None else ids[: min(stop, limit)]
    return decode(lm.tokenizer, prompt + kept)[len(decode(lm.tokenizer, prompt)) :]


def _check_prompts(prompts: Sequence[str]) -> list[str]:
    if not isinstance(prompts, (list, tuple)) or not prompts:
        raise InputError(f"The prompt is {prompts!r}, which is not text.", "Give a string, or a list of strings.")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InputError(f"A prompt is {type(prompt).__name__}, not text.", "Give a string, or a list of strings.")
    return list(prompts)


def _encode(lm: LanguageModel, texts: list[str], max_new_tokens: int, max_length: int | None) -> list[list[int]]:
    if max_new_tokens < 1 or (max_length is not None and max_length < 2):
        raise InputError("No room is left for a new token.", "Give max_new_tokens of at least 1, or max_length of at least 2.")
    room = lm.context - max_new_tokens if max_length is None else min(lm.context, max_length) - 1
    if room < 1:
        raise InputError(f"{max_new_tokens} new tokens do not fit: {lm.name} reads {lm.context}.", f"Give at most {lm.context - 1}.")
    rows = []
    for text in texts:
        text = text.encode("utf8", "replace").decode("utf8")  # half a surrogate pair is not text
        ids = list(lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) or [lm.document_id]
        if (surplus := len(ids) - room) > 0:
            print(f"Warning: of the prompt's {len(ids):,} tokens {room:,} fit; the first {surplus:,} were left out.", file=sys.stderr)
            ids = ids[surplus:]
        rows.append(ids)
    return rows


@dataclass(frozen=True)
class NextTokens:
    """The exact distribution of the next token over the whole vocabulary, likeliest first.

    ids  int64 [vocabulary]; probabilities  float64 [vocabulary], after the warpers, sum 1; `texts(n)` the n leaders' texts
    """

    ids: np.ndarray
    probabilities: np.ndarray
    lm: LanguageModel

    def texts(self, count: int) -> list[str]:
        return id_texts(self.lm.tokenizer, self.ids[:count].tolist())

    @property
    def entropy(self) -> float:
        """In bits: log2 of the number of equally likely tokens that would be as uncertain."""
        import numpy as np

        some = self.probabilities[self.probabilities > 0]
        return float(-(some * np.log2(some)).sum())


def next_logits(lm: LanguageModel, prompt: str) -> torch.Tensor:
    """The logits of the token after `prompt`: float32 [vocabulary]."""
    import torch

    ids = _encode(lm, _check_prompts([prompt]), 1, None)
    with torch.inference_mode():
        return lm.model(torch.tensor(ids, device=lm.device), use_cache=False).logits[0, -1].float().cpu()


def next_tokens(lm: LanguageModel, prompt: str, **decoding: Any) -> NextTokens:
    """The distribution from which the token after `prompt` is drawn, after transformers' own warpers for `decoding`."""
    import torch

    logits = next_logits(lm, prompt)
    no_ids = torch.empty(1, 0, dtype=torch.long)
    warped = Decoding(**decoding).warpers()(no_ids, logits[None])[0]  # type: ignore[arg-type]
    probabilities, order = warped.double().softmax(-1).sort(descending=True, stable=True)
    return NextTokens(order.numpy(), probabilities.numpy(), lm)
