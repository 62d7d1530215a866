"""What holds for every view: only a static form where outputs are stored, one module without imports, one view per cell."""

from __future__ import annotations

import gc
import json
import re
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbtools.data import pack
from nbtools.errors import InputError
from nbtools.models import LanguageModel
from nbtools.widgets import AttentionExplorer, Microscope, ParameterForm, PromptLab, TokenInspector, TrainingMonitor, front_end, live
from nbtools.widgets.live import LiveView
from tests.gate import HANG_SECONDS
from tests.small_models import tiny
from tests.widgets.front_end import VIEW


class Lamp(LiveView):
    view = "token_inspector"

    def static_html(self) -> str:
        return "<p>a lamp</p>"

    def describe(self) -> str:
        return "Lamp()"


FILES = Path(live.__file__).parent
VIEWS = [cls for cls in LiveView.__subclasses__() if cls is not Lamp]
TEXT = "The plot was thin, but the acting was good."


def a_run(folder: Path) -> Path:
    """The folder of a finished run."""
    row = {"step": 1, "loss": 1.0, "learning_rate": 1e-3, "tokens": 8, "seconds": 1.0}
    folder.mkdir()
    (folder / "plan.json").write_text('{"max_steps": 1}', encoding="utf8")
    (folder / "curve.jsonl").write_text(json.dumps(row) + "\n", encoding="utf8")
    return folder


MAKERS: dict[str, Callable[[LanguageModel, Path], LiveView]] = {
    "PromptLab": lambda lm, place: PromptLab(lm, "It was", max_new_tokens=4),
    "AttentionExplorer": lambda lm, place: AttentionExplorer(lm, TEXT),
    "Microscope": lambda lm, place: Microscope(lm, lm, TEXT, max_new_tokens=4),
    "TokenInspector": lambda lm, place: TokenInspector(lm, pack([TEXT] * 4, lm, 16)),
    "ParameterForm": lambda lm, place: ParameterForm("04"),
    "TrainingMonitor": lambda lm, place: TrainingMonitor(a_run(place / "run")),
}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The decoder's kernel is compiled once, before any test is timed."""
    PromptLab(tiny(), "It was").close()


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
def test_every_request_of_the_javascript_has_its_method(cls: Any) -> None:
    asked = set(re.findall(r'\b(?:view\.ask|start|work\("[^"]*",|ask)\(?\s*"(\w+)"', cls._esm)) - {"shown"}
    assert asked and all(hasattr(cls, f"on_{name}") for name in asked), asked
    unasked = {name.removeprefix("on_") for name in vars(cls) if name.startswith("on_")} - asked
    assert not unasked, unasked


@pytest.mark.parametrize("file", [*FILES.glob("*.js"), *FILES.glob("*.css")], ids=lambda file: file.name)
def test_lines_and_functions_are_short(file: Path) -> None:
    lines = file.read_text(encoding="utf8").splitlines()
    assert max(map(len, lines)) <= 120 and len(lines) <= 260


def test_headless_there_is_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    assert Lamp()._repr_mimebundle_() == {"text/plain": "Lamp()", "text/html": "<p>a lamp</p>"}
    monkeypatch.delenv("NBTOOLS_HEADLESS")
    data, _ = Lamp()._repr_mimebundle_()
    assert data[VIEW]["model_id"] and data["text/html"] == "<p>a lamp</p>" and data["text/plain"] == "Lamp()"


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


@pytest.mark.parametrize("cls", VIEWS, ids=lambda cls: cls.__name__)
def test_a_closed_view_holds_neither_a_model_nor_data(cls: Any, tmp_path: Path) -> None:
    """IPython's `Out` and `_` hold every view that a cell ended in, so each run of such a cell kept one more explorer's arrays."""
    lm = tiny()
    model = weakref.ref(lm.model)
    view = MAKERS[cls.__name__](lm, tmp_path)
    said, layout = repr(view), view.layout
    assert sum(len(str(value)) for value in view.get_state().values()) > 1_000
    view.close()
    del lm
    gc.collect()
    assert model() is None
    own = [name for name in view.keys if name[0] != "_" and name != "layout"]
    assert sum(len(str(value)) for value in view.get_state(own).values()) < 1_000
    assert layout.comm is None
    assert repr(view) == said, "what Out shows"
    with pytest.raises(InputError, match="closed"):
        getattr(view, cls.holds[0])
    view.close()


def test_a_lab_that_is_closed_while_it_writes_stops(tmp_path: Path) -> None:
    lab = PromptLab(tiny(), "It was", max_new_tokens=40)
    lab.start()
    thread = lab._thread
    lab.close()
    assert thread is not None
    thread.join()
    assert not lab.running and lab.shown == {}


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the cell that runs was asked with; a test may change it."""
    request = {"header": {"msg_id": "1"}, "metadata": {"cellId": "a"}, "content": {"code": "view", "allow_stdin": True}}
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)
    monkeypatch.setattr("nbtools.system.host.cell_request", lambda: request)
    monkeypatch.setattr(live, "cell_request", lambda: request)
    return request


FAILING: dict[str, Callable[[LanguageModel, Path], LiveView]] = {
    "PromptLab": lambda lm, place: PromptLab(lm, "It was", top_p=3),
    "AttentionExplorer": lambda lm, place: AttentionExplorer(lm, TEXT * 100),
    "Microscope": lambda lm, place: Microscope(lm, lm, ""),
    "TokenInspector": lambda lm, place: TokenInspector(lm, pack([TEXT] * 4, lm, 16), block=99),
    "ParameterForm": lambda lm, place: ParameterForm("77"),
    "TrainingMonitor": lambda lm, place: TrainingMonitor(place / "nothing"),
}


@pytest.mark.parametrize("cls", VIEWS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("person", [True, False])
def test_a_view_that_cannot_be_made_says_why_and_does_not_end_a_notebook(
    cls: Any, person: bool, notebook: dict[str, Any], tmp_path: Path
) -> None:
    notebook["content"]["allow_stdin"] = person
    view = FAILING[cls.__name__](tiny(), tmp_path)
    data = view._repr_mimebundle_()
    assert data["text/plain"].startswith(f"{cls.__name__} cannot be shown. ") and data.keys() == {"text/plain", "text/html"}
    assert repr(view) == data["text/plain"] and "\n" not in data["text/plain"]
    with pytest.raises(InputError, match="could not be made"):
        getattr(view, cls.holds[-1])
    view.close()


@pytest.mark.parametrize("cls", VIEWS, ids=lambda cls: cls.__name__)
def test_outside_a_notebook_a_view_that_cannot_be_made_is_an_error(cls: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        FAILING[cls.__name__](tiny(), tmp_path)


def test_where_a_program_executes_the_notebook_no_widget_is_opened(notebook: dict[str, Any]) -> None:
    """Its state would be stored, and nbconvert would prefer it to the static form."""
    notebook["content"]["allow_stdin"] = False
    lamp = Lamp()
    assert lamp.comm is None and lamp._repr_mimebundle_() == {"text/plain": "Lamp()", "text/html": "<p>a lamp</p>"}
    notebook["content"]["allow_stdin"] = True
    lamp = Lamp()
    assert lamp.comm is not None and VIEW in lamp._repr_mimebundle_()[0]


def test_without_cell_ids_the_cells_text_tells_which_cell_runs_again(notebook: dict[str, Any]) -> None:
    del notebook["metadata"]["cellId"]
    first = Lamp()
    notebook["header"] = {"msg_id": "2"}
    second = Lamp()
    assert first.comm is None and second.comm is not None


@pytest.mark.parametrize("stored", ["0", "1"])
def test_with_ipywidgets_7_too_the_static_form_is_there_and_the_live_one_only_where_wanted(
    stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its widgets show themselves by `_ipython_display_`, which IPython prefers to every other form: in Colab there was no static form, and
    a run without a browser stored live views."""
    import ipywidgets
    from IPython.core.formatters import DisplayFormatter

    alone: list[Any] = []
    monkeypatch.setattr(ipywidgets.Widget, "_ipython_display_", lambda self, **_: alone.append(self), raising=False)
    monkeypatch.setenv("NBTOOLS_HEADLESS", stored)
    data, _ = DisplayFormatter().format(Lamp())
    assert not alone and {"text/plain", "text/html"} <= data.keys()
    assert (VIEW in data) == (stored == "0")


def test_changed_files_are_sent_to_open_views_during_development(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for file in [*FILES.glob("*.js"), *FILES.glob("*.css")]:
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(front_end, "HERE", tmp_path)
    monkeypatch.setattr(front_end, "POLL_SECONDS", 0.01)
    monkeypatch.setenv("ANYWIDGET_HMR", "1")
    lamp = Lamp()
    [watcher] = [thread for thread in threading.enumerate() if thread.name == "hot-reload"]
    changed = threading.Event()
    lamp.observe(lambda change: changed.set(), names="_css")
    (tmp_path / "shared.css").write_text(".nbt { color: red; }\n", encoding="utf8")
    assert changed.wait(HANG_SECONDS) and lamp._css.startswith(".nbt { color: red; }")
    later = Lamp()
    assert later._css == lamp._css, "and to views that are made later"
    lamp.close()
    later.close()
    watcher.join(HANG_SECONDS)
    assert not watcher.is_alive(), "the files of a closed view are not watched"


def test_without_the_switch_a_view_holds_text_and_no_file_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYWIDGET_HMR", raising=False)
    before = set(threading.enumerate())
    assert isinstance(Lamp()._esm, str) and set(threading.enumerate()) <= before
