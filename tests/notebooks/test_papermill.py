"""Runs every notebook once with papermill in the clone's folder, with parameters that make it short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from tests.notebooks.tiny import write_tiny_finetuning

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

# Small enough for minutes in all, large enough that every cell has something to show.
SMALL: dict[str, dict[str, Any]] = {
    "00_setup": {"max_steps": 5, "first_steps": 8},
    "01_attention": {"prompt": "The sea looked back at him.", "layer": 1, "head": 3},
    "02_loading": {"prompt": "A film that I liked, twice.", "layer": 1, "head": 3},
    "03_generation": {"max_new_tokens": 10, "short_prompt": "The film", "seed": 3},
    "04_finetuning": {"max_reviews": 80, "max_steps": 6, "block_size": 128, "max_new_tokens": 10, "overfit_epochs": 1},
    "05_sampling": {"max_reviews": 80, "max_new_tokens": 10, "label_steps": 4, "seed": 3},
    "06_pitfalls": {"max_steps": 2, "max_reviews": 60, "block_size": 64, "seeds": 2},
    "07_your_own": {"max_texts": 300, "max_steps": 10, "block_size": 64},
    "08_other_tasks": {
        "max_reviews": 200,
        "test_reviews": 30,
        "epochs": 1,
        "max_tokens": 48,
        "rewriter_steps": 20,
        "seeds": 1,
        "instruct_profile": "mini",
    },
    "09_sweeps": {"learning_rates": [1e-3, 1e-2], "steps": [2], "seeds": 2},  # of the tiny notebook
}  # fmt: skip


def run(notebook: Path, output: Path, parameters: dict[str, Any], runs: Path) -> nbformat.NotebookNode:
    """Run the command `papermill` in the clone's folder and return the executed notebook."""
    command = [sys.executable, "-m", "papermill", str(notebook.relative_to(ROOT)), str(output), "--no-progress-bar"]
    command += ["-k", "python3", "--start-timeout", "180", "-y", yaml.safe_dump(parameters)]
    apart = {"NBTOOLS_HEADLESS": "1", "NBTOOLS_PROGRESS": "0", "NBTOOLS_RUNS": str(runs), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **apart}, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return nbformat.read(output, as_version=4)


def marks_of(path: Path) -> list[pytest.MarkDecorator]:
    """Marks for its duration; notebooks 04 and 05 run in this order in one process, because 05 uses the model that 04 saves."""
    together = [pytest.mark.xdist_group("papermill")] if path.stem in ("04_finetuning", "05_sampling") else []
    return [pytest.mark.slow(40 if path.stem in ("06_pitfalls", "08_other_tasks") else 25), *together]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for runs, so that notebook 05 finds the model that 04 has just trained, as a learner's does."""
    return tmp_path_factory.mktemp("runs")


def text_of(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_every_notebook_has_its_small_parameters() -> None:
    assert sorted(SMALL) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", [pytest.param(path, marks=marks_of(path), id=path.stem) for path in NOTEBOOKS])
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path, runs: Path) -> None:
    parameters = dict(SMALL[path.stem])
    if path.stem == "09_sweeps":
        parameters["notebook"] = str(write_tiny_finetuning(tmp_path))
    executed = run(path, tmp_path / "out.ipynb", parameters, runs)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    [injected] = [cell for cell in code if "injected-parameters" in cell.metadata.tags]
    for name in parameters:
        assert f"{name} = " in injected.source
    assert all(cell.execution_count for cell in code)
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", (cell.id, output)
            assert not [mime for mime in output.get("data", {}) if "widget" in mime], cell.id
            assert "cannot be shown" not in output.get("data", {}).get("text/plain", ""), cell.id
    for cell in code:
        if "exercise" in cell.metadata.tags:
            assert "not solved yet. Hint 1 of" in text_of(cell), cell.id


@pytest.mark.slow(1)
@pytest.mark.xdist_group("papermill")
def test_fine_tuning_saved_a_model_and_its_metrics(runs: Path) -> None:
    tuned = runs / "tuned"
    if not tuned.is_dir():
        run(ROOT / "notebooks" / "04_finetuning.ipynb", runs / "out.ipynb", SMALL["04_finetuning"], runs)
    [metrics] = tuned.rglob("metrics.json")
    found = json.loads(metrics.read_text(encoding="utf8"))
    assert found["parameters"]["max_steps"] == 6 and found["parameters"]["block_size"] == 128
    assert (metrics.parent / "model" / "model.safetensors").is_file()
