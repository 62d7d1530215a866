"""SECURITY.md names real tests, and no threat is without one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf8")
ROWS = [line for line in PAGE.partition("## Threats")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf8"), f"{file}::{name}"


def test_every_threat_has_a_defence_and_a_test() -> None:
    assert len(ROWS) > 15
    for row in ROWS:
        threat, defence, tests = (cell.strip() for cell in row.strip("|").split(" | "))
        assert threat and defence and NAMED.findall(tests), threat


def test_every_named_test_is_run_by_make_test() -> None:
    for file, name in NAMED.findall(PAGE):
        source = ast.parse((ROOT / file).read_text(encoding="utf8"))
        marks = [ast.unparse(mark) for found in ast.walk(source) if getattr(found, "name", "") == name for mark in found.decorator_list]
        assert "mark.long" not in " ".join(marks), f"make test leaves out {file}::{name}"


def test_every_attack_in_this_folder_stands_on_the_page_or_is_a_detail_of_one_that_does() -> None:
    named = {file for file, _ in NAMED.findall(PAGE)}
    here = {f"tests/security/{file.name}" for file in Path(__file__).parent.glob("test_*.py")} - {"tests/security/test_page.py"}
    assert here <= named
