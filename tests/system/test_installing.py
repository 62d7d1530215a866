"""A child that brings packages: its words and code come back, its temporary files stay below the folder, an interruption ends it."""

import subprocess
import sys
from pathlib import Path

import pytest

from nbtools.system import index_unreachable, installing, run_installer


def test_the_exit_code_and_all_that_was_printed_come_back(tmp_path: Path):
    code = "import sys, tempfile; print(tempfile.gettempdir()); print('ERROR: no', file=sys.stderr); sys.exit(3)"
    found, log = run_installer([sys.executable, "-c", code], tmp_path, "nothing")
    assert found == 3 and str(tmp_path) in log and "ERROR: no" in log


def test_an_interrupted_child_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    children, start = [], subprocess.Popen

    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(installing, "_bytes_under", interrupted)
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **options: children.append(start(*words, **options)) or children[0])
    with pytest.raises(KeyboardInterrupt):
        run_installer([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path, "nothing")
    assert children[0].returncode not in (None, 0)


def test_an_index_that_does_not_answer_is_recognized():
    assert index_unreachable("WARNING: Retrying (Retry(total=4") and not index_unreachable("No matching distribution found")
