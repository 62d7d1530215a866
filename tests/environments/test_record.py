"""Records of environments, and the table that the README makes of them: nothing that failed or was not run is left out."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from environments.record import Record, read_records

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def record() -> Record:
    return Record("here", "this Python", "python -m environments.here", {"torch": "2.13.0", "attrs": "1"})


def test_what_was_done_is_stored_and_a_failure_is_the_exit_code(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record.run("it answers", [sys.executable, "-c", "print(1)"], detail="at once")
    record.not_run("on a Mac", "there is none here")
    assert record.write(tmp_path) == 0
    record.run("it fails", [sys.executable, "-c", "raise SystemExit('no such luck')"])
    assert "no such luck" in capsys.readouterr().out
    assert record.write(tmp_path) == 1
    [stored] = read_records(tmp_path)
    assert [check["outcome"] for check in stored["checks"]] == ["passed", "not run", "failed"]
    assert json.loads((tmp_path / "here.json").read_text(encoding="utf8"))["versions"]["torch"] == "2.13.0"


def test_the_table_shows_all_of_it(record: Record, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("refresh_readme", ROOT / "tools" / "refresh_readme.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    record.note("it answers", True, "a|b")
    record.note("it stops", False)
    record.not_run("on a Mac", "none here")
    record.write(tmp_path)
    row = script.environments(read_records(tmp_path)).splitlines()[-1]
    assert "1 passed; **failed: it stops** | on a Mac | torch 2.13.0 |" in row
    page = script.environments_page(read_records(tmp_path))
    for line in ("| it answers | passed | a\\|b | 0 |", "| it stops | **failed** |  | 0 |", "| on a Mac | not run | none here |  |"):
        assert line in page.splitlines()
    assert "torch 2.13.0, attrs 1" in page
    assert script.replace("<!-- x: written by tools/refresh_readme.py -->old<!-- end of x -->.", "x", row).endswith(
        f"{row}\n<!-- end of x -->."
    )
