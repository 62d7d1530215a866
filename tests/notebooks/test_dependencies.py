"""A stored run depends on the files of the package that its code uses, found by following imports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nbtools.notebooks import choose_notebooks, dependencies, read_notebook
from nbtools.notebooks import fingerprint as fingerprints
from nbtools.notebooks.dependencies import PACKAGE, reached_files
from nbtools.notebooks.fingerprint import fingerprint
from tests.runs.small_notebooks import write_notebook


def reached(*code: str) -> set[str]:
    return {file.relative_to(PACKAGE).as_posix() for file in reached_files(code)}


def test_a_change_of_the_command_line_made_every_kept_run_new() -> None:
    """The command line was excluded by a file name that had become a folder. Now no name is listed: no notebook's code imports it."""
    for notebook in choose_notebooks():
        files = reached(*notebook.code)
        assert not [file for file in files if file.startswith(("cli/", "bundle/", "__main__"))], notebook.name
        assert ("report/page.py" in files) == (notebook.name == "09_sweeps")
        assert {"assets/mini/model.safetensors", "system/compute.py"} <= files


@pytest.mark.parametrize(
    "code",
    [
        "from nbtools import finetune",
        "import nbtools\nnbtools.finetune(lm, packed)",
        "import nbtools as course\ncourse.finetune(lm, packed)",
        "from nbtools.training import finetune",
        "from nbtools.training.finetune import finetune",
        "import nbtools.training.finetune",
        "def later():\n    from nbtools import tuned_model",
        "%matplotlib inline\nfrom nbtools import finetune",
        "!nbtools run 04",
        "%%bash\nnbtools run 04",
        "from nbtools import *",
        'subprocess.run([sys.executable, "-m", "nbtools.training"])',
        "get_ipython().system(f'accelerate launch -m nbtools.training --output_dir {folder}')",
        "files = !nbtools progress",
    ],
)
def test_code_that_trains_reaches_the_training(code: str) -> None:
    files = reached("import torch", code)
    assert {"training/finetune.py", "training/loop.py", "accel/adamw.cpp", "storage/atomic.py", "errors.py"} <= files


def test_code_that_shows_a_table_reaches_its_template() -> None:
    assert {"plots/table.py", "plots/templates/table.html", "templates.py"} <= reached("from nbtools.plots import Table")


@pytest.mark.parametrize("code", ["1 + 1", "# nbtools.training", "%matplotlib inline\n!ls", "from nbtools.attention import attention"])
def test_code_that_does_not_train_does_not_reach_it(code: str) -> None:
    assert "training/finetune.py" not in reached(code)


def test_code_that_cannot_be_parsed_depends_on_everything() -> None:
    assert "cli/run.py" in reached("from nbtools import (")
    assert reached("not python (") == reached("1")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that a test may modify."""
    package = tmp_path / "nbtools"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for module in (dependencies, fingerprints):
        monkeypatch.setattr(module, "PACKAGE", package)
    monkeypatch.setattr(dependencies, "MINI_FOLDER", package / "assets" / "mini")
    return package


def test_a_stored_run_is_repeated_only_if_its_code_has_changed(copy: Path, tmp_path: Path) -> None:
    notebook = read_notebook(write_notebook(tmp_path / "notebooks", "04_mine", "from nbtools import finetune\nfinetune(lm, packed)"))
    kept = fingerprint(notebook, {})
    for source in ("cli/run.py", "report/page.py", "runs/plan.py", "bundle/install.py", "runs/course.py", "runs/display.py"):
        (copy / source).write_text((copy / source).read_text() + "\n# changed\n")
        assert fingerprint(notebook, {}) == kept, source
    for source in ("training/config.py", "accel/adamw.cpp", "system/compute.py", "assets/mini/config.json"):
        (copy / source).write_text((copy / source).read_text() + "\n")
        kept, before = fingerprint(notebook, {}), kept
        assert kept != before, source


def test_a_notebook_that_runs_another_one_depends_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notebooks"
    write_notebook(folder, "04_train", "print(1)")
    runner = read_notebook(write_notebook(folder, "09_run", "print(2)", parameters='notebook: str = "04_train"'))
    monkeypatch.chdir(tmp_path)
    before = fingerprint(runner, {})
    write_notebook(folder, "04_train", "print(3)")
    assert fingerprint(runner, {}) != before
