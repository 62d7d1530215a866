import json
from pathlib import Path

import nbformat
import pytest

import nbtools.notebooks.costs as costs
from nbtools.errors import RunError
from nbtools.notebooks import read_notebook
from nbtools.runs import refresh_notebooks
from nbtools.runs.refresh import clean_outputs, clean_text
from tests.runs.small_notebooks import write_notebook

pytestmark = pytest.mark.slow(6)

WIDGET = "application/vnd.jupyter.widget-view+json"
CHATTY = """\
import os, sys, tempfile, pathlib
print("saved in", pathlib.Path(os.environ["NBTOOLS_RUNS"]) / "tuned")
print(pathlib.Path.cwd().parent / "data.csv", pathlib.Path.home() / ".cache", object())
print("progress 3 it/s", file=sys.stderr)"""


@pytest.fixture
def costs_file(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "COSTS_FILE", tmp_path / "costs.json")
    return tmp_path / "costs.json"


def stored(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_stored_without_time_place_or_speed(tmp_path, costs_file):
    path = write_notebook(tmp_path / "notebooks", "00_setup", CHATTY, "1 + 1")
    before = [(cell["id"], cell["source"]) for cell in read_notebook(path).cells]
    assert refresh_notebooks([read_notebook(path)], say=lambda text: None) == [path]
    first, second = stored(path)
    assert first.outputs[0].text == "saved in runs/tuned\n./data.csv ~/.cache <object object at 0x…>\n" and len(first.outputs) == 1
    assert (first.execution_count, second.execution_count, second.outputs[0].data["text/plain"]) == (1, 2, "2")
    assert [(cell["id"], cell["source"]) for cell in read_notebook(path).cells] == before
    text = path.read_text()
    assert "papermill" not in text and 'execution":' not in text and str(tmp_path) not in text and str(Path.home()) + "/" not in text


def test_a_second_refresh_changes_not_a_byte(tmp_path, costs_file):
    path = write_notebook(tmp_path / "notebooks", "00_setup", CHATTY)
    refresh_notebooks([read_notebook(path)], say=lambda text: None)
    content, said = path.read_bytes(), []
    assert refresh_notebooks([read_notebook(path)], say=said.append) == []
    assert path.read_bytes() == content and said[-1].endswith("unchanged")


def test_the_box_shows_what_this_refresh_recorded(tmp_path, costs_file):
    """While it runs a notebook can only print the record of the time before."""
    old = "About 9 minutes and 9.9 GB of memory (recorded on a machine with 99 processor cores)."
    path = write_notebook(tmp_path / "notebooks", "00_setup", f"print({old!r})", f"print({old.replace(' of memory', '')!r})")
    assert refresh_notebooks([read_notebook(path)], say=lambda text: None) == [path]
    first, second = stored(path)
    assert first.outputs[0].text == costs.recorded(costs.read_costs()["00_setup"]) + "\n" != old + "\n"
    assert "9.9 GB (recorded" in second.outputs[0].text and f"print({old!r})" in first.source


def test_what_changed_is_said_by_cell_and_the_cost_is_recorded(tmp_path, costs_file):
    path = write_notebook(tmp_path / "notebooks", "00_setup", "print('a')", "2")
    refresh_notebooks([read_notebook(path)], say=lambda text: None)
    path.write_text(path.read_text().replace("print('a')", "print('b')"))
    said = []
    refresh_notebooks([read_notebook(path)], say=said.append)
    assert said[-1] == "  cell 2 (cell-0): text differs" and "1 cells changed" in said[-2]
    record = json.loads(costs_file.read_text())["notebooks"]["00_setup"]
    assert record["seconds"] > 0 and record["peak_memory_bytes"] > 10e6 and record["matmul_gflops"] > 0 and len(record["cell_seconds"]) == 2


def test_a_failing_notebook_stays_as_it_was(tmp_path, costs_file):
    path = write_notebook(tmp_path / "notebooks", "00_setup", "1 / 0")
    content = path.read_bytes()
    with pytest.raises(RunError, match=r"code cell 1 of 1: the cell raised an error\. ZeroDivisionError"):
        refresh_notebooks([read_notebook(path)], say=lambda text: None)
    assert path.read_bytes() == content and not costs_file.exists()


def test_the_hub_is_off_and_pictures_are_still(tmp_path, costs_file):
    source = "import os\nprint(*(os.environ.get(n) for n in ('HF_HUB_OFFLINE', 'NBTOOLS_HEADLESS', 'NBTOOLS_PROGRESS')))"
    path = write_notebook(tmp_path / "notebooks", "00_setup", source)
    refresh_notebooks([read_notebook(path)], say=lambda text: None)
    assert stored(path)[0].outputs[0].text == "1 1 0\n"


def test_a_widget_keeps_its_still_form_and_a_bare_view_goes():
    view = {"model_id": "abc"}
    both = {"output_type": "display_data", "data": {WIDGET: view, "text/plain": "a still", "image/png": "iVBOR"}, "metadata": {}}
    bare = {"output_type": "display_data", "data": {WIDGET: view}, "metadata": {}}
    assert clean_outputs([both, bare], [], "") == [
        {"output_type": "display_data", "data": {"text/plain": "a still", "image/png": "iVBOR"}, "metadata": {}}
    ]


def test_pieces_of_a_stream_are_joined():
    pieces = [{"output_type": "stream", "name": "stdout", "text": text} for text in ("one\nt", "wo\n")]
    assert clean_outputs(pieces, [], "") == [{"output_type": "stream", "name": "stdout", "text": "one\ntwo\n"}]


def test_only_whole_names_of_folders_are_shortened():
    places = [("/home/ann/course", "."), ("/home/ann", "~")]
    assert clean_text("/home/ann/course/x /home/ann, /home/anna /home/ann.old /home/ann.", places) == "./x ~, /home/anna /home/ann.old ~."
