"""The prompt lab: a prompt, sampling parameters, the exact distribution of the next token, and a text that can be branched anywhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import traitlets

from nbtools.errors import InputError, one_line
from nbtools.generation import SamplingParams, continue_ids, generate, logits_after, next_tokens
from nbtools.generation.texts import added_text, encode, end_ids
from nbtools.models import LanguageModel
from nbtools.system import interactive
from nbtools.texts import check_text, repair
from nbtools.tokens import id_texts, visible
from nbtools.widgets.live import TEMPLATES, LiveView
from nbtools.widgets.requests import Request
from nbtools.widgets.sampling_params import check_settings, to_options

ROOT = -1
"""The prompt itself, as the parent of a token."""
NAMED_TOKENS = 256
"""Likeliest next tokens whose texts are sent to the browser with their logits."""
LONGEST = 400
"""Most new tokens of one text."""


class PromptLab(LiveView):
    """A prompt box with sampling parameters, the exact distribution of the next token, and branches.

    temperature         0 is greedy decoding: the likeliest token each time, no random numbers
    top_k, min_p        0 is off
    top_p               1 is off
    repetition_penalty  1 is off
    seed                the same prompt, parameters and seed give the same text again, as with `nbtools.generate`

    The browser gets all logits of a position once, as float32, and computes the distribution over the whole vocabulary itself while a
    slider moves. It also decides what is written: branches and comparisons are its requests for a text after one of the tokens, which are
    kept here, so that every view of the lab shows them. Texts are written in a thread, because a kernel receives nothing, a press of Stop
    included, while its main thread works. Where nobody is watching (`nbtools.system.interactive`) the lab is displayed as tables, made by
    one generation.
    """

    view: ClassVar[str] = "prompt_lab"
    modules: ClassVar[tuple[str, ...]] = ("warpers", "random", "code", "sampling_controls", "distribution", "text_tree", "lab_actions")
    holds: ClassVar[tuple[str, ...]] = ("lm", "_prompt_ids", "_thread")
    threaded: ClassVar[frozenset[str]] = frozenset({"write", "decode"})
    private: ClassVar[frozenset[str]] = LiveView.private | {"decode", "names"}

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
        self.lm = lm
        longest = min(LONGEST, lm.context - 1)
        settings["max_new_tokens"] = min(settings["max_new_tokens"], longest)
        size = f"{lm.parameters / 1e6:,.0f} million parameters, context {lm.context:,}, {lm.model.config.vocab_size:,} tokens"
        title = f"{lm.name}: {type(lm.model).__name__}, {size}"
        shown = {"title": title, "model": lm.name, "longest": longest, "running": "", **self._new_tree(prompt)}
        super().__init__(prompt=prompt, settings=settings, shown={**shown, **self._next(ROOT, self._prompt_ids)})
        self.observe(self._notice_settings, names="settings")
        self.observe(self._notice_prompt, names="prompt")

    @property
    def text(self) -> str:
        """Prompt and continuation up to the current token, without an end-of-text at its end."""
        added = [node["token"] for node in self._path(self.shown["at"])]
        return str(self.shown["root"]) + added_text(self.lm, self._prompt_ids, added, end_ids(self.lm))

    def start(self) -> None:
        """Start a text from the prompt, in a thread. One runs at a time; `cancel()` stops it after its current token."""
        self.answer(Request("write"))

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the running text, at most `seconds`, and return what is written."""
        self._join(seconds)
        return self.text

    # Requests of the view.

    def on_change(self, request: Request) -> None:
        """The prompt or the settings were edited."""
        settings = request.get("settings", self.settings)
        check_settings(**settings)
        if request.get("prompt", self.prompt) != self.prompt:
            self.prompt = request["prompt"]
        if settings != self.settings:
            self.settings = settings

    def on_next(self, request: Request) -> dict[str, Any]:
        """The token `node` becomes the current one: what follows it."""
        return {} if self.running else self._next(int(request["node"]))

    def on_write(self, request: Request) -> dict[str, Any]:
        """A text after the token `node` (the prompt, without one), with the settings and `changes` of them."""
        at = self._write(request)
        return {"notice": "stopped" if request.cancelled.is_set() else "done", **self._next(at)}

    def on_add(self, request: Request) -> None:
        """A token that was chosen by hand becomes the current one."""
        if not self.running:
            self._add(request["node"], request)

    def on_decode(self, request: Request) -> dict[str, Any]:
        """A text from the prompt that does not become part of the tree; `options` are those of `nbtools.generate`."""
        return {"text": generate(self.lm, self.prompt, should_stop=request.cancelled.is_set, **request["options"])}

    def on_names(self, request: Request) -> dict[str, Any]:
        """The texts of tokens."""
        return {"texts": self._texts(request["ids"])}

    def on_keep(self, request: Request) -> dict[str, Any]:
        """What the view has made of texts, for every view of this lab to show."""
        return dict(request["parts"])

    def _write(self, request: Request) -> int:
        """Continue as `on_write` says. Returns the number of the last token."""
        self._follow_prompt()
        at = int(request.get("node", ROOT))
        if at >= len(self.shown["nodes"]):
            at = ROOT  # of the tree of an earlier prompt
        params = SamplingParams(**{**self.settings, **request.get("changes", {})})
        path = self._path(at)
        for new in continue_ids(self.lm, self._ids(path), params, generated=len(path), should_stop=request.cancelled.is_set):
            at = self._add({"parent": at, **asdict(new)}, request)
        return at

    # The tree: tokens by number, each with the number of the token before it. They never change.

    def _new_tree(self, prompt: str) -> dict[str, Any]:
        """A tree without tokens, and nothing compared."""
        root = repair(prompt)
        [self._prompt_ids] = encode(self.lm, [root], 1, None)
        return {"root": root, "nodes": [], "at": ROOT, "replayed": {}, "compared": []}

    def _path(self, number: int) -> list[dict[str, Any]]:
        """The tokens from the first one after the prompt to the one called `number`."""
        nodes, path = self.shown["nodes"], []
        while number != ROOT:
            if not 0 <= number < len(nodes):
                raise InputError(f"There is no token number {number}.", f"There are {len(nodes)}.")
            path.append(nodes[number])
            number = nodes[number]["parent"]
        return path[::-1]

    def _ids(self, path: list[dict[str, Any]]) -> list[int]:
        return self._prompt_ids + [node["token"] for node in path]

    def _add(self, node: dict[str, Any], request: Request) -> int:
        """Make a new token the current one and send it to the views. Returns its number."""
        nodes = self.shown["nodes"]
        depth = 0 if node["parent"] == ROOT else nodes[node["parent"]]["depth"] + 1
        node = {**node, "number": len(nodes), "depth": depth}
        nodes.append(node)
        self.shown["at"] = node["number"]
        self.update(request, node=node, at=node["number"])
        return int(node["number"])

    def _next(self, at: int, ids: list[int] | None = None) -> dict[str, Any]:
        """The current token and, unless the context is full, what a view needs to show the distribution after it.

        next    the token's depth in the tree, the ids before it (for the repetition penalty), and the texts of its likeliest candidates
        logits  float32 [vocabulary], as bytes
        """
        ids = ids or self._ids(self._path(at))
        if len(ids) >= self.lm.context:
            return {"at": at}
        logits = logits_after(self.lm, ids)
        likeliest = logits.topk(min(NAMED_TOKENS, len(logits))).indices.tolist()
        following = {"depth": len(ids) - len(self._prompt_ids), "history": sorted(set(ids)), "texts": self._texts(likeliest)}
        return {"at": at, "next": following, "logits": logits.numpy().tobytes()}

    def _texts(self, ids: list[int]) -> dict[str, str]:
        return dict(zip(map(str, ids), id_texts(self.lm.tokenizer, ids), strict=True))

    def _notice_settings(self, change: Any) -> None:
        check_settings(**self.settings)

    def _notice_prompt(self, change: Any) -> None:
        """A new prompt starts a new tree. A text that is being written keeps its tree, and the next one starts a new tree.

        Front ends with subshells can have two threads of the kernel handle messages at once, so only the lock knows what is being written.
        """
        if self._computing.acquire(blocking=False):
            try:
                self._follow_prompt()
                self.show(**self._next(self.shown["at"]))
            finally:
                self._computing.release()

    def _follow_prompt(self) -> None:
        if self.shown["root"] != repair(self.prompt):
            self.show(**self._new_tree(self.prompt))

    # Static form.

    def static_html(self) -> str:
        try:
            if not interactive() and not self.shown["nodes"]:
                self._write(Request("write"))
            text = self.text
        except Exception as error:  # the tables are still worth showing
            text = one_line(error)
        settings = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        rows = [("model", self.shown["title"]), ("prompt", self.prompt), ("decoding", settings), ("text", text)]
        return TEMPLATES.render("prompt_lab.html", rows=rows, top_tokens=self.top_tokens())

    def top_tokens(self, count: int = 10) -> list[tuple[str, float]]:
        """The likeliest tokens right after the prompt, with their probabilities under the current settings."""
        options = {name: value for name, value in self.settings.items() if name not in {"max_new_tokens", "seed"}}
        exact = next_tokens(self.lm, self.prompt, **to_options(options))
        rows = zip(exact.texts(count), exact.probabilities[:count].tolist(), strict=True)
        return [(visible(text), share) for text, share in rows if share > 0]

    def describe(self) -> str:
        # Without the text: stored outputs are compared, and a text may differ from one machine to another.
        values = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"PromptLab({self.lm.name!r}, {self.prompt!r}, {values})"
