"""A text as it is made, token by token, with what else each token could have been: a tree of continuations of one prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.generation.decoder import Cache, prepare
from nbtools.generation.decoding import SeededDraw
from nbtools.generation.params import SamplingParams
from nbtools.generation.prompts import added_text, check_prompts, encode, end_ids
from nbtools.models import Turns, evaluating, exclusive
from nbtools.tokens import id_texts
from nbtools.values import CHECKS

if TYPE_CHECKING:
    import torch

    from nbtools.models import LanguageModel

ROOT = -1  # the prompt itself
ALTERNATIVES = 8  # kept of each token, itself included


@dataclass(frozen=True)
class Node:
    """One token in its place.

    parent        the node before it, or ROOT; depth: 0 for the first token after the prompt
    token         its id; text: what it adds to the text before it
    probability   under the warpers that it was chosen by; uniform: the number that chose it, None where no dice were thrown
    alternatives  the likeliest tokens in this place under the same warpers: (id, text, probability)
    """

    number: int
    parent: int
    depth: int
    token: int
    text: str
    probability: float
    uniform: float | None
    alternatives: list[tuple[int, str, float]]


class TextTree:
    """Continuations of one prompt. Nodes are numbered in the order in which they were made and never change.

    The dice belong to the place: with one seed, the token at depth d is drawn by the d-th number of that seed's stream, in whichever
    branch it stands. So a branch that is not touched is the text of `nbtools.generate` with the same values.
    """

    def __init__(self, lm: LanguageModel, prompt: str, most_new_tokens: int = 1) -> None:
        """most_new_tokens: room that the prompt must leave in the context; a longer one loses its beginning, as in `generate`."""
        self.lm, self.prompt = lm, check_prompts([prompt])[0]
        [self.prompt_ids] = encode(lm, [self.prompt], most_new_tokens, None)
        self.ends = end_ids(lm)
        self.nodes: list[Node] = []

    def path(self, node: int) -> list[int]:
        """The numbers of the nodes from the first token to `node`."""
        found: list[int] = []
        while node != ROOT:
            if not 0 <= node < len(self.nodes):
                raise InputError(f"There is no token number {node}.", f"The tree has {len(self.nodes)}.")
            found.append(node)
            node = self.nodes[node].parent
        return found[::-1]

    def ids(self, node: int) -> list[int]:
        """The prompt's tokens and those up to `node`."""
        return self.prompt_ids + [self.nodes[one].token for one in self.path(node)]

    def text(self, node: int) -> str:
        """Prompt and continuation up to `node`, without an end-of-text at its end."""
        made = [one for one in self.ids(node)[len(self.prompt_ids) :] if one not in self.ends]
        return self.prompt + added_text(self.lm, self.prompt_ids, made)

    def grow(
        self, node: int, count: int, seed: int, params: SamplingParams, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Node]:
        """Go on from `node` by at most `count` tokens, and yield each. Ends at an end-of-text and where the context is full.

        Raises InputError for beams, which have no token before they end.
        """
        if params.num_beams > 1:
            raise InputError("A beam search knows its text only at the end.", "Leave out num_beams.")
        ids = self.ids(node)
        if node != ROOT and self.nodes[node].token in self.ends:
            return
        dice = uniforms(seed, len(ids) - len(self.prompt_ids) + count)
        reader = _Reader(self.lm, len(ids) + count)
        logits = reader.read(ids)
        for _ in range(min(count, self.lm.context - len(ids))):
            depth = len(ids) - len(self.prompt_ids)
            made = self._choose(node, ids, logits, params, dice[depth])
            yield made
            node = made.number
            ids.append(made.token)
            if made.token in self.ends or (should_stop is not None and should_stop()):
                return
            if len(ids) < self.lm.context:
                logits = reader.read([made.token])

    def fork(self, node: int, token: int, params: SamplingParams) -> Node:
        """Another token in the place of `node`, chosen by hand; an earlier choice of the same one is found again."""
        self.path(node)
        place = self.nodes[node]
        for other in self.nodes:
            if other.parent == place.parent and other.token == token:
                return other
        ids = self.ids(place.parent)
        return self._add(place.parent, ids, self.probabilities(ids, params), token, None)

    def probabilities(self, ids: list[int], params: SamplingParams) -> torch.Tensor:
        """The distribution after `ids`, float64 [vocabulary], as `params` warp it."""
        return _warped(self.logits(ids), ids, params).double().softmax(-1)

    def logits(self, ids: list[int]) -> torch.Tensor:
        """The logits after `ids`, float32 [vocabulary], before anything is done to them."""
        return _Reader(self.lm, len(ids)).read(ids)

    def _choose(self, parent: int, ids: list[int], logits: torch.Tensor, params: SamplingParams, uniform: float) -> Node:
        scores = _warped(logits, ids, params)
        probabilities = scores.double().softmax(-1)
        if params.samples:
            return self._add(parent, ids, probabilities, SeededDraw.land(scores, uniform), uniform)
        return self._add(parent, ids, probabilities, int(scores.argmax()), None)

    def _add(self, parent: int, ids: list[int], probabilities: torch.Tensor, token: int, uniform: float | None) -> Node:
        top = probabilities.topk(min(ALTERNATIVES, len(probabilities)))
        likely = [one for one, share in zip(top.indices.tolist(), top.values.tolist(), strict=True) if share > 0]
        shown = likely if token in likely else [*likely, token]
        texts = id_texts(self.lm.tokenizer, shown)
        alternatives = [(one, text, float(probabilities[one])) for one, text in zip(shown, texts, strict=True)]
        depth = len(ids) - len(self.prompt_ids)
        made = Node(len(self.nodes), parent, depth, token, texts[shown.index(token)], float(probabilities[token]), uniform, alternatives)
        self.nodes.append(made)
        return made


def uniforms(seed: int, count: int) -> list[float]:
    """The first `count` numbers of a seed's stream: those that `nbtools.generate` draws with."""
    import torch

    stream = torch.Generator().manual_seed(CHECKS["seed"]("seed", seed))
    return [float(torch.rand((), generator=stream, dtype=torch.float64)) for _ in range(count)]


def _warped(logits: torch.Tensor, ids: list[int], params: SamplingParams) -> torch.Tensor:
    """The scores that a token is chosen by: repetition penalty, then transformers' warpers where tokens are drawn. float32 [vocabulary]"""
    import torch

    held: Any = torch.tensor([ids])
    return params.warpers()(held, params.penalized(held, logits[None]))[0]  # type: ignore[arg-type]


class _Reader:
    """Reads a row of tokens piece by piece, by the course's decoder or, where that does not fit, by the library's."""

    def __init__(self, lm: LanguageModel, capacity: int) -> None:
        self.lm, self.past = lm, None
        with exclusive(lm.model):
            self.turns, self.decoder = Turns(lm), prepare(lm.model, lm.model.dtype)
        self.cache = Cache.empty(self.decoder.weights, 1, capacity) if self.decoder else None

    def read(self, ids: list[int]) -> torch.Tensor:
        """The logits after `ids` and all that was read before: float32 [vocabulary]."""
        import torch

        if self.decoder is not None and self.cache is not None:
            with self.turns.turn():
                return self.decoder.read([ids], [0], self.cache)[0]
        with self.turns.turn(), evaluating(self.lm.model), torch.inference_mode():
            given = self.lm.model(torch.tensor([ids], device=self.lm.device), past_key_values=self.past, use_cache=True)
        self.past = given.past_key_values
        return given.logits[0, -1].float().cpu()
