"""The prompt lab: a prompt, sampling parameters, the exact distribution of the next token, and a text that can be branched anywhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import traitlets

from nbtools.errors import one_line
from nbtools.generation import ROOT, Node, SamplingParams, TextTree, generate, sample_inverse_cdf, uniforms
from nbtools.models import LanguageModel
from nbtools.system import interactive
from nbtools.texts import check_text, repair
from nbtools.tokens import id_texts, visible
from nbtools.widgets.live import TEMPLATES, LiveView
from nbtools.widgets.requests import Request
from nbtools.widgets.sampling_params import check_settings, ways_of_decoding

NAMED_TOKENS = 256
"""Likeliest next tokens whose texts are sent to the browser."""
LONGEST = 400
"""Most new tokens of one text."""
MOST_NODES = 5_000
"""Tokens of a tree; a text that would grow a larger one begins a new tree."""


class PromptLab(LiveView):
    """A prompt box with sampling parameters, the exact distribution of the next token, and branches.

    temperature         0 is greedy decoding: the likeliest token each time, no random numbers
    top_k, min_p        0 is off
    top_p               1 is off
    repetition_penalty  1 is off
    seed                the same prompt, parameters and seed give the same text again, as with `nbtools.generate`

    The browser gets all logits of a position once, as float32, and computes the distribution over the whole vocabulary itself while a
    slider moves. Texts are written in a thread, because a kernel receives nothing, a press of Stop included, while its main thread works.
    Where nobody is watching (`nbtools.system.interactive`) the lab is displayed as tables, made by one generation.
    """

    view: ClassVar[str] = "prompt_lab"
    modules: ClassVar[tuple[str, ...]] = ("warpers", "random", "code", "sampling_controls", "distribution", "text_tree")
    holds: ClassVar[tuple[str, ...]] = ("lm", "_tree", "_thread")
    threaded: ClassVar[frozenset[str]] = frozenset({"generate", "step", "fork", "replay", "compare"})

    prompt = traitlets.Unicode().tag(sync=True)
    settings: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        prompt: str = "The movie was",
        *,
        temperature: float = 0.7,
        top_k: int = 50,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        max_new_tokens: int = 50,
        seed: int = 0,
    ) -> None:
        prompt = check_text(prompt, "prompt")
        settings = check_settings(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
        self.lm, self.at = lm, ROOT
        self.longest = min(LONGEST, lm.context - 1)
        settings["max_new_tokens"] = min(settings["max_new_tokens"], self.longest)
        self._tree = TextTree(lm, prompt)
        self.prompt, self.settings = prompt, settings
        size = f"{lm.parameters / 1e6:,.0f} million parameters, context {lm.context:,}, {lm.model.config.vocab_size:,} tokens"
        constant = {"title": f"{lm.name}: {type(lm.model).__name__}, {size}", "model": lm.name, "longest": self.longest, "running": ""}
        shown = {**constant, **self._new_tree(), **self._next()}
        super().__init__(prompt=prompt, settings=settings, shown=shown)
        self.observe(self._notice_settings, names="settings")
        self.observe(self._notice_prompt, names="prompt")

    @property
    def text(self) -> str:
        """Prompt and continuation up to the current token."""
        return self._tree.text(self.at)

    def start(self) -> None:
        """Start a text from the prompt, in a thread. One runs at a time; `cancel()` stops it after its current token."""
        self.answer(Request("generate"))

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the running text, at most `seconds`, and return what is written."""
        self._join(seconds)
        return self.text

    # Requests of the view.

    def on_change(self, request: Request) -> None:
        """The prompt or the settings were edited. Takes over what the view shows."""
        settings = request.get("settings", self.settings)
        check_settings(**settings)
        if request.get("prompt", self.prompt) != self.prompt:
            self.prompt = request["prompt"]
        if settings != self.settings:
            self.settings = settings

    def on_visit(self, request: Request) -> dict[str, Any]:
        """Make a token that exists already the current one."""
        if self.running:
            return {}
        self._tree.path(int(request["node"]))
        self.at = int(request["node"])
        return self._next()

    def on_generate(self, request: Request) -> dict[str, Any]:
        """A text from the prompt."""
        self._begin(request)
        self._write(ROOT, request)
        return self._end(request)

    def on_step(self, request: Request) -> dict[str, Any]:
        """One more token."""
        self._begin(request)
        node = int(request["node"])
        if node >= len(self._tree.nodes):
            node = ROOT  # of the tree of an earlier prompt
        self._write(node, request, max_new_tokens=1)
        return self._end(request)

    def on_fork(self, request: Request) -> dict[str, Any]:
        """A branch: another token in the place of a node, and a continuation of it."""
        self._begin(request)
        branch = self._tree.fork(int(request["node"]), int(request["token"]), SamplingParams(**self.settings))
        self._add(branch, request)
        left = self.settings["max_new_tokens"] - branch.depth - 1
        if left > 0:
            self._write(branch.number, request, max_new_tokens=left)
        return self._end(request)

    def on_replay(self, request: Request) -> dict[str, Any]:
        """The current text again, with the same random numbers at another temperature."""
        self._begin(request)
        first = [self._tree.nodes[number] for number in self._tree.path(self.at)] or self._write(ROOT, request)
        temperature = float(request["temperature"])
        second = self._write(ROOT, request, temperature=temperature, max_new_tokens=len(first))
        before, after = ([[node.token, node.text] for node in nodes] for nodes in (first, second))
        replayed = {"temperature_before": self.settings["temperature"], "temperature_after": temperature, "before": before, "after": after}
        return {"replayed": replayed, **self._end(request)}

    def on_compare(self, request: Request) -> dict[str, Any]:
        """The prompt continued by greedy decoding, by sampling and by beam search."""
        self._begin(request)
        rows: list[list[str]] = []
        for name, options in ways_of_decoding(self.settings).items():
            rows.append([name, str(generate(self.lm, self.prompt, **options))])
            self.update(request, compared=list(rows))
            if request.cancelled.is_set():
                break
        return {"compared": rows, **self._end(request)}

    # How a text is written.

    def _begin(self, request: Request) -> None:
        """Take over what the view showed when it asked, and start a new tree if the prompt has changed."""
        self.on_change(request)
        self._follow_prompt()

    def _write(self, node: int, request: Request, **changes: Any) -> list[Node]:
        """Continue from `node` with the settings and `changes` of them. Returns the new nodes."""
        params = SamplingParams(**{**self.settings, **changes})
        if len(self._tree.nodes) > MOST_NODES:
            self._tree, node = TextTree(self.lm, self.prompt, params.max_new_tokens), ROOT
            self.show(**self._new_tree())
        made = []
        for new in self._tree.grow(node, params, request.cancelled.is_set):
            self._add(new, request)
            made.append(new)
        return made

    def _add(self, node: Node, request: Request) -> None:
        """Make a node the current one and send it to the views."""
        self.at = node.number
        nodes = self.shown.get("nodes", [])
        if node.number == len(nodes):  # else the branch existed already
            nodes.append(asdict(node))
        self.update(request, node=asdict(node), at=self.at)

    def _end(self, request: Request) -> dict[str, Any]:
        return {"notice": "stopped" if request.cancelled.is_set() else "done", **self._next()}

    # What the views show.

    def _new_tree(self) -> dict[str, Any]:
        """An empty tree and nothing compared with it."""
        self.at = ROOT
        return {"root": self.prompt, "nodes": [], "at": ROOT, "replayed": {}, "compared": []}

    def _next(self) -> dict[str, Any]:
        """The current token and, unless the context is full, what a view needs to show the distribution after it.

        next    the token's depth in the tree, the ids before it (for the repetition penalty), and the texts of its likeliest candidates and
                of the token that the random number selects
        logits  float32 [vocabulary], as bytes
        """
        tree, ids = self._tree, self._tree.ids(self.at)
        if len(ids) >= self.lm.context:
            return {"at": self.at}
        logits, depth = tree.logits(ids), len(ids) - len(tree.prompt_ids)
        probabilities = tree.distribution(ids, SamplingParams(**self.settings)).probabilities
        drawn = sample_inverse_cdf(probabilities.log(), uniforms(self.settings["seed"], depth + 1)[depth])
        named = sorted({*logits.topk(min(NAMED_TOKENS, len(logits))).indices.tolist(), drawn})
        texts = dict(zip(map(str, named), id_texts(self.lm.tokenizer, named), strict=True))
        following = {"depth": depth, "history": sorted(set(ids)), "texts": texts}
        return {"at": self.at, "next": following, "logits": logits.numpy().tobytes()}

    def _notice_settings(self, change: Any) -> None:
        check_settings(**self.settings)

    def _notice_prompt(self, change: Any) -> None:
        """A new prompt starts a new tree. A text that is being written keeps its tree, and the next one starts a new tree.

        Front ends with subshells can have two threads of the kernel handle messages at once, so only the lock knows what is being written.
        """
        if self._computing.acquire(blocking=False):
            try:
                self._follow_prompt()
                self.show(**self._next())
            finally:
                self._computing.release()

    def _follow_prompt(self) -> None:
        if self._tree.prompt != repair(self.prompt):
            self._tree = TextTree(self.lm, self.prompt)
            self.show(**self._new_tree())

    # Static form.

    def static_html(self) -> str:
        try:
            if not interactive() and not self._tree.nodes:
                self._write(ROOT, Request("generate"))
            text = self.text
        except Exception as error:  # the tables are still worth showing
            text = one_line(error)
        settings = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        rows = [("model", self.shown["title"]), ("prompt", self.prompt), ("decoding", settings), ("text", text)]
        return TEMPLATES.render("prompt_lab.html", rows=rows, top_tokens=self.top_tokens())

    def top_tokens(self, count: int = 10) -> list[tuple[str, float]]:
        """The likeliest tokens right after the prompt, with their probabilities under the current settings."""
        top = self._tree.distribution(self._tree.prompt_ids, SamplingParams(**self.settings)).probabilities.topk(count)
        texts = id_texts(self.lm.tokenizer, top.indices.tolist())
        return [(visible(text), share) for text, share in zip(texts, top.values.tolist(), strict=True) if share > 0]

    def describe(self) -> str:
        # Without the text: stored outputs are compared, and a text may differ from one machine to another.
        values = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"PromptLab({self.lm.name!r}, {self.prompt!r}, {values})"
