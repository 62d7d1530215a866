"""A tree of continuations of one prompt, which keeps for every token what else it could have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from nbtools.errors import InputError
from nbtools.generation.engine import Continuation, decode, make_engine
from nbtools.generation.sampling import Distribution, Sampler, SamplingParams
from nbtools.generation.texts import added_text, encode, end_ids
from nbtools.models import LanguageModel
from nbtools.texts import check_texts
from nbtools.tokens import id_texts

ROOT = -1  # the prompt itself
ALTERNATIVES = 8  # likeliest tokens kept with each node


@dataclass(frozen=True)
class Node:
    """One token of a tree."""

    number: int
    parent: int
    """The number of the node before it, or ROOT."""
    depth: int
    """0 for the first token after the prompt."""
    token: int
    text: str
    """The text that the token adds."""
    probability: float
    """Under the parameters that it was chosen with."""
    uniform: float | None
    """The uniform number with which it was sampled; None for a greedy or a manual choice."""
    alternatives: list[tuple[int, str, float]]
    """The likeliest tokens under the same parameters, and this one: (id, text, probability)."""


class TextTree:
    """Continuations of one prompt. Nodes are numbered in the order in which they were made and never change.

    With one seed, the d-th number of that seed's stream draws the token at depth d, in every branch. So a branch that was never changed by
    hand is the text of `nbtools.generate` with the same values.
    """

    def __init__(self, lm: LanguageModel, prompt: str, most_new_tokens: int = 1) -> None:
        """most_new_tokens: room that the prompt must leave in the context; a longer one loses its beginning, as in `generate`."""
        self.lm, self.prompt = lm, check_texts([prompt], "prompts")[0]
        [self.prompt_ids] = encode(lm, [self.prompt], most_new_tokens, None)
        self.ends = end_ids(lm)
        self.nodes: list[Node] = []

    def path(self, node: int) -> list[int]:
        """Return the numbers of the nodes from the first token to `node`."""
        found: list[int] = []
        while node != ROOT:
            if not 0 <= node < len(self.nodes):
                raise InputError(f"There is no token number {node}.", f"The tree has {len(self.nodes)}.")
            found.append(node)
            node = self.nodes[node].parent
        return found[::-1]

    def ids(self, node: int) -> list[int]:
        """The prompt's tokens and those up to `node`."""
        return self.prompt_ids + [self.nodes[number].token for number in self.path(node)]

    def text(self, node: int) -> str:
        """Prompt and continuation up to `node`, without an end-of-text at its end."""
        return self.prompt + added_text(self.lm, self.prompt_ids, self.ids(node)[len(self.prompt_ids) :], self.ends)

    def grow(self, node: int, params: SamplingParams, should_stop: Callable[[], bool] | None = None) -> Iterator[Node]:
        """Continue after `node` by at most params.max_new_tokens, and yield each. Ends at an end-of-text and where the context is full.

        Raises InputError for beams, which have no token before they end.
        """
        if params.num_beams > 1:
            raise InputError("A beam search knows its text only at the end.", "Leave out num_beams.")
        ids = self.ids(node)
        room = min(params.max_new_tokens, self.lm.context - len(ids))
        if room < 1 or (node != ROOT and self.nodes[node].token in self.ends):
            return
        texts = Continuation([ids], [room], [params.seed], params, self.ends, depth=len(ids) - len(self.prompt_ids))
        for [step] in decode(make_engine(self.lm), texts):
            added = self._add(node, step.distribution, step.token, step.uniform)
            node = added.number
            yield added
            if should_stop is not None and should_stop():
                return

    def fork(self, node: int, token: int, params: SamplingParams) -> Node:
        """Another token instead of `node`, chosen by hand; where the tree already has it, that node is returned."""
        self.path(node)
        parent = self.nodes[node].parent
        for other in self.nodes:
            if other.parent == parent and other.token == token:
                return other
        return self._add(parent, self.distribution(self.ids(parent), params), token, None)

    def distribution(self, ids: list[int], params: SamplingParams) -> Distribution:
        """Return the distribution of the token after `ids` under `params`."""
        return Sampler(params)(self.logits(ids)[None], [ids])[0]

    def logits(self, ids: list[int]) -> torch.Tensor:
        """The model's own logits after `ids`, float32 [vocabulary] on the CPU."""
        return make_engine(self.lm).prefill([ids], len(ids))[0].cpu()

    def _add(self, parent: int, distribution: Distribution, token: int, uniform: float | None) -> Node:
        probabilities = distribution.probabilities
        top = probabilities.topk(min(ALTERNATIVES, len(probabilities)))
        likely = [other for other, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True) if probability > 0]
        shown = likely if token in likely else [*likely, token]
        texts = id_texts(self.lm.tokenizer, shown)
        alternatives = [(other, text, float(probabilities[other])) for other, text in zip(shown, texts, strict=True)]
        depth = 0 if parent == ROOT else self.nodes[parent].depth + 1
        text, probability = texts[shown.index(token)], float(probabilities[token])
        self.nodes.append(Node(len(self.nodes), parent, depth, token, text, probability, uniform, alternatives))
        return self.nodes[-1]
