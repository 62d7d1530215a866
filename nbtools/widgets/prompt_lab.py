"""The prompt lab: a prompt, the knobs of decoding, the exact next token, the dice, and a text that can be taken back and branched."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import traitlets

from nbtools.generation import ROOT, Node, SamplingParams, TextTree, generate, uniforms
from nbtools.plots.table import as_text
from nbtools.runtime import interactive
from nbtools.texts import check_text, repair
from nbtools.tokens import id_texts, visible
from nbtools.widgets.knobs import as_command, as_python, checked, given, params_of
from nbtools.widgets.live import LiveView

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

LEADERS = 10  # likeliest next tokens in the still form
NAMED = 256  # likeliest tokens whose texts the browser is given
BEAMS = 4
MOST_NODES = 5_000  # of a tree; then it begins anew


class PromptLab(LiveView):
    """A prompt box with the knobs of decoding, the exact distribution of the next token, its dice, and branches.

    temperature  0 means greedy: the likeliest token every time, and no dice
    top_k, min_p 0 means off; top_p, repetition_penalty  1 means off
    seed         the same prompt, values and seed give the same text again, as `nbtools.generate` does

    All logits go to the browser once a place, as float32, and every knob is answered there over the whole vocabulary. A text is written in
    a thread, because a kernel hears a button only while no cell runs. Prompts and texts are shown as text, never read as HTML.
    Displayed where nobody looks on (`nbtools.runtime.interactive`) it is a table made by one generation.
    """

    view: ClassVar[str] = "prompt_lab"
    parts: ClassVar[tuple[str, ...]] = ("warpers",)
    holds: ClassVar[tuple[str, ...]] = ("lm", "_tree", "_thread")

    title = traitlets.Unicode().tag(sync=True)
    prompt = traitlets.Unicode().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    limits = traitlets.Dict().tag(sync=True)
    root = traitlets.Unicode().tag(sync=True)  # the prompt that the tree grows from
    nodes: traitlets.List[Any] = traitlets.List().tag(sync=True)  # the whole tree, once a text has ended
    grown = traitlets.Dict().tag(sync=True)  # what has been added since, while it is written
    at = traitlets.Int(ROOT).tag(sync=True)
    logits = traitlets.Bytes().tag(sync=True)  # float32 [vocabulary], of the token after `at`
    looking = traitlets.Dict().tag(sync=True)  # depth and history of that place, and texts of its leaders
    dice: traitlets.List[Any] = traitlets.List().tag(sync=True)  # the seed's numbers, by depth
    writing = traitlets.Bool(False).tag(sync=True)
    line = traitlets.Unicode().tag(sync=True)
    replayed = traitlets.Dict().tag(sync=True)
    compared: traitlets.List[Any] = traitlets.List().tag(sync=True)
    python = traitlets.Unicode().tag(sync=True)
    command = traitlets.Unicode().tag(sync=True)

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
        longest = min(400, lm.context - 1)
        settings = checked({
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty,
            "max_new_tokens": max_new_tokens, "seed": seed,
        })  # fmt: skip
        settings["max_new_tokens"] = min(settings["max_new_tokens"], longest)
        config = lm.model.config
        size = f"{lm.parameters / 1e6:,.0f} million parameters, context {lm.context:,}, {config.vocab_size:,} tokens"
        kind = f"{type(lm.model).__name__}, {size}"
        self.lm = lm
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(title=f"{lm.name}: {kind}", prompt=prompt, settings=settings, limits={"longest": longest, "context": lm.context})
        self._tree = self._plant()
        self.observe(self._follow_settings, names="settings")
        self.observe(self._notice_prompt, names="prompt")
        self._follow_settings()
        self._look()

    @property
    def text(self) -> str:
        """Prompt and continuation up to where the lab stands."""
        return self._tree.text(self.at)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin a text from the prompt, in a thread. One runs at a time."""
        self.on_generate({})

    def stop(self) -> None:
        """Ask a running text to end after the token at hand; what is written stays."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the running text, at most `seconds`, and return what is written."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.text

    # What the buttons ask for.

    def on_generate(self, content: dict[str, Any]) -> None:
        self._begin(content, lambda: self._write(ROOT, self.settings))

    def on_step(self, content: dict[str, Any]) -> None:
        self._begin(content, lambda: self._write(int(content["node"]), {**self.settings, "max_new_tokens": 1}))

    def on_stop(self, content: dict[str, Any]) -> None:
        self.stop()

    def on_visit(self, content: dict[str, Any]) -> None:
        if not self.running:
            self._tree.path(int(content["node"]))
            self.at = int(content["node"])
            self._look()

    def on_fork(self, content: dict[str, Any]) -> None:
        def go() -> None:
            branch = self._tree.fork(int(content["node"]), int(content["token"]), params_of(self.settings))
            left = self.settings["max_new_tokens"] - branch.depth - 1
            self._keep(branch)
            if left > 0:
                self._write(branch.number, {**self.settings, "max_new_tokens": left})

        self._begin(content, go)

    def on_replay(self, content: dict[str, Any]) -> None:
        """The dice of the text at hand, thrown again at another temperature."""

        def go() -> None:
            first = self._tree.path(self.at) or self._write(ROOT, self.settings)
            other = {**self.settings, "temperature": float(content["temperature"]), "max_new_tokens": len(first)}
            second = self._write(ROOT, other)
            one, two = ([self._tree.nodes[number] for number in numbers] for numbers in (first, second))
            same = (a.token == b.token for a, b in zip(one, two, strict=False))
            parting = next((place for place, equal in enumerate(same) if not equal), -1)
            self.replayed = {
                "before": self.settings["temperature"], "temperature": other["temperature"], "parting": parting,
                "first": [node.text for node in one], "tokens": [node.text for node in two],
            }  # fmt: skip

        self._begin(content, go)

    def on_compare(self, content: dict[str, Any]) -> None:
        def go() -> None:
            count, penalty = self.settings["max_new_tokens"], given(self.settings, ["repetition_penalty"])
            sampled = {**given(self.settings, ["top_k", "top_p", "min_p"]), "temperature": self.settings["temperature"] or 1.0}
            ways: dict[str, dict[str, Any]] = {
                "greedy": {}, SamplingParams(**sampled).describe(): sampled, f"beam search, {BEAMS} beams": {"num_beams": BEAMS},
            }  # fmt: skip
            rows = []
            for name, values in ways.items():
                text = generate(self.lm, self.prompt, max_new_tokens=count, seed=self.settings["seed"], **values, **penalty)
                rows.append([name, str(text)])
                self.compared = list(rows)
                if self._stop.is_set():
                    return

        self._begin(content, go)

    # How a text is made.

    def _begin(self, content: dict[str, Any], work: Callable[[], Any]) -> None:
        """Do `work` in a thread, unless one runs already.

        First take prompt and settings as the page had them when it asked: its own update of the two may arrive later.
        """
        if self.running:
            return
        for name in ("prompt", "settings"):
            if content.get(name, getattr(self, name)) != getattr(self, name):
                setattr(self, name, content[name])
        self._stop.clear()
        self.problem, self.line, self.writing = "", "", True

        def run() -> None:
            try:
                with self._computing:
                    self.attempt(work)
                    self.attempt(self._look)
            finally:
                self.line = "" if self.problem else "stopped" if self._stop.is_set() else "done"
                self.writing = False

        self._thread = threading.Thread(target=run, name="prompt-lab", daemon=True)
        self._thread.start()

    def _write(self, node: int, settings: dict[str, Any]) -> list[int]:
        """Go on from `node`; the numbers of the nodes that were made. A changed prompt, or a full tree, begins a new tree."""
        if self._tree.prompt != self.prompt or len(self._tree.nodes) > MOST_NODES:
            self._tree, node = self._plant(settings["max_new_tokens"]), ROOT
        made = []
        count, seed = settings["max_new_tokens"], settings["seed"]
        for new in self._tree.grow(node, count, seed, params_of(settings), self._stop.is_set):
            self._keep(new)
            made.append(new.number)
        self.nodes = [asdict(one) for one in self._tree.nodes]
        return made

    def _keep(self, node: Node) -> None:
        with self.hold_trait_notifications():
            self.grown = {"first": node.number, "nodes": [asdict(node)]}
            self.at = node.number

    def _plant(self, room: int = 1) -> TextTree:
        tree = TextTree(self.lm, self.prompt, room)
        with self.hold_trait_notifications():
            self.root, self.nodes, self.at, self.replayed, self.compared = self.prompt, [], ROOT, {}, []
        return tree

    def _look(self) -> None:
        """Send the logits of the token after the place where the lab stands."""
        ids = self._tree.ids(self.at)
        if len(ids) >= self.lm.context:
            return
        logits = self._tree.logits(ids)
        leaders = logits.topk(min(NAMED, len(logits))).indices.tolist()
        held = sorted(set(ids))
        dice = self.dice[len(ids) - len(self._tree.prompt_ids)]
        drawn = int((self._probabilities(ids).cumsum(0) <= dice).sum())
        named = sorted({*leaders, min(drawn, len(logits) - 1)})
        texts = dict(zip(map(str, named), id_texts(self.lm.tokenizer, named), strict=True))
        with self.hold_sync():
            self.looking = {"depth": len(ids) - len(self._tree.prompt_ids), "history": held, "texts": texts}
            self.logits = logits.numpy().tobytes()

    def _probabilities(self, ids: list[int]) -> Any:
        return self._tree.probabilities(ids, params_of(self.settings))

    def _notice_prompt(self, change: Any) -> None:
        """A new prompt begins a new tree; a text that is being written keeps its own, and the next one sees to it.

        JupyterLab may hand a change and a question to two threads of the kernel at once, so that this is asked of the lock alone.
        """
        if self._computing.acquire(blocking=False):
            try:
                self.attempt(self._follow_prompt)
            finally:
                self._computing.release()

    def _follow_prompt(self) -> None:
        if self._tree.prompt != repair(self.prompt):
            self._tree = self._plant()
        self._look()

    def _follow_settings(self, change: Any = None) -> None:
        params_of(self.settings)
        self.dice = uniforms(self.settings["seed"], self.limits["longest"] + 1)
        self.python = as_python(self.lm, self.prompt, self.settings)
        self.command = as_command(self.lm, self.prompt, self.settings)

    # Without scripts.

    def still(self) -> str:
        if not interactive() and not self._tree.nodes:
            self.start()
            self.wait()
        settings = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        rows = [("model", self.title), ("prompt", self.prompt), ("decoding", settings), ("text", self.problem or self.text)]
        body = "".join(f"<tr><th scope='row' style='text-align:left'>{name}</th><td>{as_text(value)}</td></tr>" for name, value in rows)
        return f"<table>{body}</table>{_leaders_table(self.leading())}"

    def leading(self, count: int = LEADERS) -> list[tuple[str, float]]:
        """The likeliest tokens right after the prompt, with their probabilities under the knobs' values."""
        top = self._probabilities(self._tree.prompt_ids).topk(count)
        texts = id_texts(self.lm.tokenizer, top.indices.tolist())
        return [(visible(text), share) for text, share in zip(texts, top.values.tolist(), strict=True) if share > 0]

    def __repr__(self) -> str:
        """Without the text: stored outputs are compared, and a text may differ from one machine to another."""
        values = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"PromptLab({self.lm.name}, {self.prompt!r}, {values})"


def _leaders_table(pairs: list[tuple[str, float]]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(text)}</code></td><td style='text-align:right'>{share:.1%}</td></tr>" for text, share in pairs
    )
    return f"<table><thead><tr><th scope='col'>next token</th><th scope='col'>probability</th></tr></thead><tbody>{rows}</tbody></table>"
