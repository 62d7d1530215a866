"""Expected ranges: every range that a notebook uses exists and contains the stored value."""

import re
from pathlib import Path

import nbformat
import pytest

from nbtools.notebooks import expected, read_expected

ROOT = Path(__file__).resolve().parents[2]


def test_every_range_is_used_once_and_the_stored_figures_lie_within():
    used = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            names = re.findall(r'^expected\("([\w-]+)"', cell.source, re.MULTILINE) if cell.cell_type == "code" else []
            used += names
            if names:
                said = "".join(output.get("text", "") for output in cell.outputs)
                assert said.count("as expected") == len(names), (path.name, said)
                assert all(name.startswith(path.name[:2]) for name in names)
    assert sorted(used) == sorted(read_expected()) and len(used) >= 10


@pytest.mark.parametrize("name", read_expected())
def test_a_range_is_a_range(name):
    one = read_expected()[name]
    assert one["low"] < one["high"] <= 5 * one["low"] + 1 and one["what"]


def test_the_message_for_values_inside_and_outside(capsys):
    name = next(iter(read_expected()))
    one = read_expected()[name]
    for value, words in ((one["low"], "as expected"), (one["high"] * 2, "outside of"), (float("nan"), "outside of")):
        expected(name, value)
        assert words in capsys.readouterr().out
    for other, value in (("99-nothing", 1.0), (name, None)):
        expected(other, value)  # it only decorates: a notebook goes on
        assert len(capsys.readouterr().out.splitlines()) == 1
