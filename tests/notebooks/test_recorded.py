"""Recorded outputs of a larger model: what is stored is printed with its origin, and what is missing is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.notebooks import read_notebook, read_parameters, read_recorded, recorded
from tools.record import CELLS, PARAMETERS, printed

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
COMMAND = "nbtools run 04 --profile larger -p seeds 1"
ENTRY = {"date": "2026-01-02", "machine": "2 cores", "command": COMMAND, "outputs": {"before": "1.2 bits\n", "after": "1.1"}}
RECORD = {"profile": "larger", "notebooks": {"04_finetuning": ENTRY}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys.modules[read_recorded.__module__], "FOLDER", tmp_path)
    (tmp_path / "larger.json").write_text(json.dumps(RECORD))
    read_recorded.cache_clear()
    yield tmp_path
    read_recorded.cache_clear()


@pytest.mark.usefixtures("folder")
def test_cells_are_printed_with_their_origin(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("04_finetuning", "before", "after", profile="larger")
    shown = capsys.readouterr().out
    assert "larger, recorded on 2026-01-02 (2 cores)" in shown and COMMAND in shown
    assert "1.2 bits\n\n1.1" in shown


@pytest.mark.usefixtures("folder")
def test_what_was_not_recorded_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("04_finetuning", "no-such-cell", profile="larger")
    assert "no-such-cell" in capsys.readouterr().out
    with pytest.raises(InputError, match="Nothing was recorded with 'other'"):
        read_recorded("other")


def test_all_that_a_cell_printed_and_showed_is_kept() -> None:
    stream = [{"output_type": "stream", "name": name, "text": [f"{name}\n"]} for name in ("stdout", "stderr")]
    shown = {"output_type": "execute_result", "data": {"text/plain": ["a table"], "text/html": ["<table>"]}}
    assert printed({"outputs": [*stream, shown]}) == "stdout\na table\n"


def test_the_cells_and_parameters_to_record_exist() -> None:
    for name, cells in CELLS.items():
        notebook = read_notebook(NOTEBOOKS / f"{name}.ipynb")
        assert set(cells) <= {cell["id"] for cell in notebook.cells}, name
        assert {value.partition("=")[0] for value in PARAMETERS.get(name, ())} <= set(read_parameters(notebook)), name
