"""The prompt lab: a prompt, the knobs of decoding, and the text that they give."""

from __future__ import annotations

import html
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from nbtools.errors import CourseError, InputError
from nbtools.generation import generate, next_tokens
from nbtools.plots.table import as_text
from nbtools.runtime import headless
from nbtools.tokens import visible

if TYPE_CHECKING:
    from nbtools.models import LanguageModel

LEADERS = 10  # likeliest next tokens shown


class PromptLab:
    """A prompt box with sliders, Generate and Stop, the text as it grows, and the leaders among the next tokens.

    temperature  0 means greedy: the likeliest token every time, and no other knob but the length counts
    top_k, min_p 0 means off; top_p  1 means off
    seed         the same prompt, values and seed give the same text again

    The text is generated in a thread, because a kernel hears a button only while no cell runs. A prompt and a text are shown
    as text, never read as HTML or as a formula; an error is one line below the buttons. Displayed while outputs are stored
    (`nbtools.runtime.headless`) it is a table made by one generation, without live parts.
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompt: str = "The movie was",
        *,
        temperature: float = 0.7,
        top_k: int = 50,
        top_p: float = 0.95,
        min_p: float = 0.0,
        max_new_tokens: int = 50,
        seed: int = 0,
    ) -> None:
        if not isinstance(prompt, str):
            raise InputError(f"The prompt is {type(prompt).__name__}, not text.", "Give a string.")
        self.lm = lm
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._line = ""
        slider: dict[str, Any] = {"continuous_update": False, "style": {"description_width": "7em"}}
        self.prompt = widgets.Textarea(prompt, placeholder="Write the beginning of a text", rows=3, layout={"width": "98%"})
        self.prompt.continuous_update = False
        longest = min(400, lm.context - 1)
        self.knobs: dict[str, Any] = {
            "temperature": widgets.FloatSlider(temperature, min=0, max=2, step=0.05, description="temperature", **slider),
            "top_k": widgets.IntSlider(top_k, min=0, max=200, description="top-k", **slider),
            "top_p": widgets.FloatSlider(top_p, min=0.05, max=1, step=0.01, description="top-p", **slider),
            "min_p": widgets.FloatSlider(min_p, min=0, max=0.5, step=0.01, description="min-p", **slider),
            "max_new_tokens": widgets.IntSlider(max_new_tokens, min=1, max=longest, description="length", **slider),
            "seed": widgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed", style={"description_width": "7em"}),
        }
        self.generate_button = widgets.Button(description="Generate", button_style="primary")
        self.stop_button = widgets.Button(description="Stop", disabled=True)
        self.output = widgets.Textarea("", disabled=True, rows=8, layout={"width": "98%"})
        self.leaders, self.status = widgets.HTML(), widgets.HTML()
        self.generate_button.on_click(lambda button: self.start())
        self.stop_button.on_click(lambda button: self.stop())
        for control in (self.prompt, *self.knobs.values()):
            control.observe(lambda change: self._show_leaders(), names="value")
        self.view = widgets.VBox(
            [
                self.prompt,
                widgets.HBox([widgets.VBox(list(self.knobs.values())), self.leaders]),
                widgets.HBox([self.generate_button, self.stop_button]),
                self.status,
                self.output,
            ]
        )
        self._show_leaders()

    @property
    def values(self) -> dict[str, Any]:
        """The knobs' values, by name."""
        return {name: knob.value for name, knob in self.knobs.items()}

    @property
    def text(self) -> str:
        """The text that stands in the output: prompt and continuation, or nothing yet."""
        return str(self.output.value)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin a generation in a thread. One runs at a time: a second call while one runs does nothing."""
        if self.running:
            return
        self._stop.clear()
        self.generate_button.disabled, self.stop_button.disabled = True, False
        self._say("writing …")
        self._thread = threading.Thread(target=self._write, name="prompt-lab", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask a running generation to end after the token at hand; what it has written stays."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> str:
        """Wait for the running generation, at most `seconds`, and return the text."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.text

    def _decoding(self) -> dict[str, Any]:
        """The values as `nbtools.generation` takes them: what is off is left out."""
        values = self.values
        if not values["temperature"]:
            return {}
        off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
        return {"temperature": values["temperature"]} | {name: values[name] for name, none in off.items() if values[name] != none}

    def _write(self) -> None:
        prompt, values = self.prompt.value, self.values

        def grow(new: str) -> None:
            self.output.value = prompt + new

        try:
            self.output.value = prompt
            settings = {"max_new_tokens": values["max_new_tokens"], "seed": values["seed"], **self._decoding()}
            self.output.value = str(generate(self.lm, prompt, on_text=grow, should_stop=self._stop.is_set, **settings))
            self._say("stopped" if self._stop.is_set() else "done")
        except CourseError as error:
            self._say(f"{error.problem} {error.remedy}")
        except Exception as error:
            # In a thread nobody else would see it.
            self._say(f"{type(error).__name__}: {error}".splitlines()[0])
        finally:
            self.generate_button.disabled, self.stop_button.disabled = False, True

    def _leading(self) -> list[tuple[str, float]]:
        following = next_tokens(self.lm, self.prompt.value, **self._decoding())
        pairs = zip(following.texts(LEADERS), following.probabilities.tolist(), strict=False)
        return [(visible(text), share) for text, share in pairs if share > 0]

    def _show_leaders(self) -> None:
        if self.running:  # the tokenizer cannot serve two threads at once
            return
        try:
            self.leaders.value = _leaders_table(self._leading())
            self._say("")
        except CourseError as error:
            self.leaders.value = ""
            self._say(f"{error.problem} {error.remedy}")

    def _say(self, line: str) -> None:
        self._line = line
        self.status.value = as_text(line)

    def _still(self) -> str:
        settings = ", ".join(f"{name} {value:g}" for name, value in self.values.items())
        rows = [("prompt", self.prompt.value), ("decoding", settings), ("text", self.text or self._line)]
        body = "".join(f"<tr><th scope='row' style='text-align:left'>{name}</th><td>{as_text(value)}</td></tr>" for name, value in rows)
        return f"<table>{body}</table>{_leaders_table(self._leading())}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        still = headless()
        if still and not self.text:
            self.start()
            self.wait()
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._still()}
        if not still:
            # Written out, because ipywidgets 7 (Colab) has no MIME bundle to take it from.
            bundle["application/vnd.jupyter.widget-view+json"] = {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}
        return bundle

    def __repr__(self) -> str:
        """Without the text: stored outputs are compared, and a text may differ from one machine to another."""
        values = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"PromptLab({self.lm.name}, {self.prompt.value!r}, {values})"


def _leaders_table(pairs: list[tuple[str, float]]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(text)}</code></td><td style='text-align:right'>{share:.1%}</td></tr>" for text, share in pairs
    )
    return f"<table><thead><tr><th scope='col'>next token</th><th scope='col'>probability</th></tr></thead><tbody>{rows}</tbody></table>"
