"""Decoding by transformers' own `generate`: beams, accelerators, and every model that `decoder.py` does not write out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from nbtools.generation.decoding import PromptRepetition, SeededDraw
from nbtools.generation.params import SamplingParams
from nbtools.models import Turns, evaluating, lock_of

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel


class _Stop(StoppingCriteria):
    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **keywords: Any) -> torch.BoolTensor:
        import torch

        return torch.full((len(input_ids),), self.asked(), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


class _Tell(BaseStreamer):
    """Hands on every token as it is made."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self.told, self.begun = told, False

    def put(self, value: torch.Tensor) -> None:
        if self.begun:
            self.told(int(value))
        self.begun = True  # the first call brings the prompt

    def end(self) -> None:
        return


@dataclass(frozen=True)
class Task:
    """Rows of token ids to continue, each with its seed, by at most `new_tokens` tokens, until one of `ends`.

    turns  those that the model is used in; None: they begin with the generation

    In another number format than the model's the arithmetic is autocast, so that no copy of the weights is needed.
    """

    rows: Sequence[list[int]]
    new_tokens: int
    params: SamplingParams
    seeds: Sequence[int]
    ends: set[int]
    number: torch.dtype
    turns: Turns | None = None


def continue_rows(
    lm: LanguageModel, task: Task, on_token: Callable[[int], None] | None = None, should_stop: Callable[[], bool] | None = None
) -> list[list[int]]:
    """The ids that each row is continued with, padded where it ended before the others.

    on_token  for a single row; while it runs, other threads may use the model
    """
    import torch

    rows, params = task.rows, task.params
    longest = max(map(len, rows))
    pad = lm.document_id
    # Left padding: generation goes on at the right edge, and every row must end there.
    input_ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=lm.device)
    attention_mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=lm.device)
    processors: list[LogitsProcessor] = []
    if params.repetition_penalty is not None:
        padding = [longest - len(row) for row in rows for _ in range(params.num_beams)]
        processors.append(PromptRepetition(params.repetition_penalty, padding))
    if params.samples:
        processors += [*params.warpers(), SeededDraw(task.seeds)]
    settings = GenerationConfig(
        max_new_tokens=task.new_tokens,
        do_sample=False,  # SeededDraw has drawn already: the greedy choice among one token
        num_beams=params.num_beams,
        eos_token_id=sorted(task.ends),
        pad_token_id=pad,
        use_cache=True,
    )
    turns = task.turns or Turns(lm)
    with ExitStack() as turn:
        turn.enter_context(_turn(lm, turns))

        def tell(token: int) -> None:
            assert on_token is not None
            turn.close()
            on_token(token)
            turn.enter_context(_turn(lm, turns))

        cast = nullcontext() if task.number == lm.model.dtype else torch.autocast(lm.device.type, task.number)
        with torch.inference_mode(), cast:
            output = lm.model.generate(  # type: ignore[operator]
                input_ids,
                attention_mask=attention_mask,
                generation_config=settings,
                logits_processor=processors,
                stopping_criteria=[_Stop(should_stop)] if should_stop else None,
                streamer=_Tell(tell) if on_token else None,
            )
    return [row[longest:] for row in output.tolist()]


@contextmanager
def _turn(lm: LanguageModel, turns: Turns) -> Iterator[None]:
    """One turn of a generation, without the checkpoint's own generation settings: transformers fills what we leave open from them."""
    with turns.turn(), evaluating(lm.model):
        own = lm.model.generation_config
        lm.model.generation_config = GenerationConfig()
        try:
            yield
        finally:
            lm.model.generation_config = own


def tokens(lm: LanguageModel, task: Task) -> Generator[int, None, None]:
    """The ids that a single row is continued with, one by one. Closing the generator ends the generation.

    transformers pushes its tokens, so it runs in a thread, which is never more than two tokens ahead. In a thread that holds the model,
    such as a training's callback, another one would wait for it for ever: there the tokens are all made first.
    """
    if lock_of(lm.model).held_here():
        yield from continue_rows(lm, task)[0]
        return
    arrived: queue.Queue[int | Exception | None] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def write() -> None:
        try:
            continue_rows(lm, task, lambda token: None if closed.is_set() else arrived.put(token), closed.is_set)
            arrived.put(None)
        except Exception as error:  # raised again where the tokens are read
            arrived.put(error)

    thread = threading.Thread(target=write, name="token-stream", daemon=True)
    thread.start()
    try:
        while (token := arrived.get()) is not None:
            if isinstance(token, Exception):
                raise token
            yield token
    finally:
        closed.set()
        while thread.is_alive():
            if not arrived.empty():
                arrived.get()
            thread.join(0.005)
