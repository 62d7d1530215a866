"""What every view keeps: a still form alone where outputs are stored, one module without imports, one view a cell."""

from __future__ import annotations

import re
from typing import Any

import pytest

from nbtools.widgets import live
from nbtools.widgets.live import LiveView
from tests.widgets.front_end import VIEW, say


class Lamp(LiveView):
    view = "token_inspector"

    def on_light(self, content: dict[str, Any]) -> None:
        if content["colour"] == "none":
            raise ValueError("<no> colour\nsecond line")

    def still(self) -> str:
        return "<p>a lamp</p>"

    def __repr__(self) -> str:
        return "Lamp()"


VIEWS = [cls for cls in LiveView.__subclasses__() if cls is not Lamp]


def test_there_are_views() -> None:
    assert {cls.__name__ for cls in VIEWS} >= {"PromptLab", "AttentionExplorer", "Microscope", "TokenInspector"}


@pytest.mark.parametrize("cls", VIEWS, ids=lambda cls: cls.__name__)
def test_a_module_asks_for_nothing_and_reads_no_text_as_html(cls: Any) -> None:
    source = cls._esm
    assert not re.search(r"^\s*import |import\(|https?://(?!www\.w3\.org/2000/svg)|fetch\(|XMLHttpRequest", source, re.MULTILINE)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", source)
    assert source.count("export default") == 1
    for selector in re.findall(r"(?:^|})\s*([^{}@]+){", cls._css):
        assert all(part.strip().startswith((".nbt", "body[data-jp-theme-light")) for part in selector.split(",")), selector


@pytest.mark.parametrize("cls", VIEWS, ids=lambda cls: cls.__name__)
def test_what_the_browser_sends_is_answered(cls: Any) -> None:
    asked = set(re.findall(r'\b(?:ask|start)\("(\w+)"', cls._esm))
    assert asked and all(hasattr(cls, f"on_{name}") for name in asked), asked


def test_headless_there_is_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    assert Lamp()._repr_mimebundle_() == {"text/plain": "Lamp()", "text/html": "<p>a lamp</p>"}
    monkeypatch.delenv("NBTOOLS_HEADLESS")
    data, _ = Lamp()._repr_mimebundle_()
    assert data[VIEW]["model_id"] and data["text/html"] == "<p>a lamp</p>" and data["text/plain"] == "Lamp()"


def test_an_error_is_a_line_and_the_next_question_clears_it() -> None:
    lamp = Lamp()
    say(lamp, type="light", colour="none")
    assert lamp.problem == "ValueError: <no> colour"
    say(lamp, type="light", colour="red", aside=True)  # the view asked by itself
    assert lamp.problem == "ValueError: <no> colour"
    say(lamp, type="light", colour="red")
    assert lamp.problem == ""


@pytest.mark.parametrize("message", [None, "text", {}, {"type": 3}])
def test_what_is_no_question_changes_nothing(message: Any) -> None:
    lamp = Lamp()
    lamp._handle_custom_msg(message, [])
    assert (lamp.heard, lamp.problem) == (0, "")


def test_a_cell_that_runs_again_closes_what_it_had_made(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ["first"]
    monkeypatch.setattr(live, "_cell", lambda: ("cell-1", run[0]))
    one, other = Lamp(), Lamp()
    assert one.comm is not None and other.comm is not None, "two of one run stay"
    run[0] = "second"
    third = Lamp()
    assert one.comm is None and other.comm is None and third.comm is not None
    monkeypatch.setattr(live, "_cell", lambda: ("cell-2", "third"))
    Lamp()
    assert third.comm is not None, "another cell's view stays"
    for _ in range(20):
        run[0] += "+"
        monkeypatch.setattr(live, "_cell", lambda: ("cell-1", run[0]))
        Lamp()
    assert len(live._BY_CELL["cell-1", "Lamp"]) == 1


@pytest.mark.parametrize("stored", ["0", "1"])
def test_with_ipywidgets_7_too_the_still_form_is_there_and_the_live_one_only_where_wanted(
    stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its widgets show themselves by `_ipython_display_`, which IPython prefers to every other form: in Colab there was no still form, and
    a run without a browser stored live views."""
    import ipywidgets
    from IPython.core.formatters import DisplayFormatter

    alone: list[Any] = []
    monkeypatch.setattr(ipywidgets.Widget, "_ipython_display_", lambda self, **_: alone.append(self), raising=False)
    monkeypatch.setenv("NBTOOLS_HEADLESS", stored)
    data, _ = DisplayFormatter().format(Lamp())
    assert not alone and {"text/plain", "text/html"} <= data.keys()
    assert (VIEW in data) == (stored == "0")
